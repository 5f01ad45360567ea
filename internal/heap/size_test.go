package heap

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheSizeOfJSONIsWhatItTakesOfTheHeap(t *testing.T) {
	for name, part := range map[string]string{
		"empty objects": `{},`, "empty lists": `[],`, "numbers": `1,`, "short strings": `"x",`, "nulls": "null,",
		"long strings": `"` + strings.Repeat("x", 100) + `",`, "objects": `{"a":1},`, "lists": `[1],`,
		"no UTF-8": "\"" + strings.Repeat("\xff", 100) + "\",", "escapes": `"` + strings.Repeat(`\u4e16`, 100) + `",`,
		"larger objects": `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1},`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			body := []byte(`{"z":[` + strings.Repeat(part, 10_000) + `0]}`)
			before := heapInUse()
			decoder := json.NewDecoder(strings.NewReader(string(body)))
			decoder.UseNumber()
			var decoded map[string]any
			g.Expect(decoder.Decode(&decoded)).To(Succeed())
			took, size := heapInUse()-before, OfJSON(body, 1<<40)
			t.Logf("%s: took %d, said %d", name, took, size)
			g.Expect(took).To(BeNumerically("<", size*5/4+int64(len(body))))
			g.Expect(took).To(BeNumerically("<", Of(decoded)*5/4+int64(len(body))))
			g.Expect(OfJSON(body, 1000)).To(BeNumerically("~", 1000, 1000), "it ends when it is sure")
			runtime.KeepAlive(decoded)
			runtime.KeepAlive(body)
		})
	}
}

// sizeByTokens is the size of JSON by what encoding/json makes of it.
func sizeByTokens(text string) int64 {
	tokens, size := json.NewDecoder(strings.NewReader(text)), int64(0)
	tokens.UseNumber()
	for {
		token, err := tokens.Token()
		if err != nil {
			return size
		}
		size += valuePrice
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				size += containerPrice
			}
		case string:
			size += textPrice + int64(len(v))
		case json.Number:
			size += textPrice + int64(len(v))
		}
	}
}

func TestTheSizeOfJSONIsThatOfItsTokens(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, ` { "a" : [ 1 , -2.5e+7 , true , false , null , "" ] , "b" : { } } `, `{"größe":"世界\"\\\n\t"}`,
		`{"a":"{[,:]}"}`, "{\n\t\"a\":\r\n[1,2]}", `[[[[[["x"]]]]],{"a":{"b":{"c":0}}}]`, "{\"a\":\"\xff\xfe\"}",
	} {
		NewWithT(t).Expect(OfJSON([]byte(text), 1<<40)).To(Equal(sizeByTokens(text)), text)
	}
	// One that is escaped counts as the longest that it can be.
	escaped := `{"a":"\u003cb\u003e \ud83d\ude00"}`
	NewWithT(t).Expect(OfJSON([]byte(escaped), 1<<40)).To(BeNumerically("~", sizeByTokens(escaped)+4, 4))
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	body := []byte(`{"request_id":"x","data":{"data":{"user":"scott","size":7},"metadata":{"version":7}},"auth":null}`)
	NewWithT(t).Expect(testing.AllocsPerRun(100, func() { _ = OfJSON(body, 8<<20) })).To(BeZero())
}

// FuzzOfJSON: of what is JSON, no token counts less than it takes, and whatever it is, it ends.
func FuzzOfJSON(f *testing.F) {
	for _, text := range []string{`{"a":"\u12`, `["\`, `{"a"`, `"`, `[1,2`, "[\"\xff", `{"a":"\ud83d\ude00"}`, `[-]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size := OfJSON([]byte(text), 1<<40); json.Valid([]byte(text)) && size < sizeByTokens(text) {
			t.Fatalf("%d, and its tokens take %d", size, sizeByTokens(text))
		}
	})
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
