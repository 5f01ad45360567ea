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

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
