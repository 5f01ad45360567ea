package isolation

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// maxSecrets is how many secrets a Connection may have.
const maxSecrets = 64

// largestAnswer is what is read of an answer at most, less what stands around.
const largestAnswer = 4<<20 - 4096

// wideConnection refers to the key "value" of many secrets: one that no reference can mean would not be read.
func (t *Tenant) wideConnection(name, path string) *v1alpha1.Connection {
	value, secrets := map[string]any{}, make([]v1alpha1.VaultSecret, maxSecrets)
	for i := range secrets {
		secrets[i] = builder.VaultSecret(fmt.Sprintf("s%d", i), fmt.Sprintf("%s/%d", path, i))
		value[fmt.Sprintf("v%d", i)] = fmt.Sprintf("vault.secret(s%d.value)", i)
	}
	return builder.Connection(t.Namespace, name, value, builder.WithSecrets(secrets...), builder.WithShortestRefresh)
}

// raw is a secret whose data is written as JSON.
func raw(data string) []byte {
	return []byte(`{"request_id":"` + requestID + `","data":{"data":` + data +
		`,"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false}}}`)
}

// answerWith answers every read of a secret with the same bytes.
func (t *Tenant) answerWith(body []byte) (*server, error) {
	return t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if isData(path) {
			_, _ = w.Write(body)
		}
		return isData(path)
	})
}

// largeAnswers are trees that take twenty times their size, of which one key is used.
func largeAnswers(t *Tenant) (Proof, error) {
	s, err := t.answerWith(raw(`{"value":"x","z":[` + strings.Repeat("{},", largestAnswer/3) + `{}]}`))
	if err != nil {
		return nil, err
	}
	return atLeast(8, "answers of 4 MiB", func() int { return s.count("secret/data/") }), t.create(t.wideConnection("large", "large"))
}

func manyKeys(t *Tenant) (Proof, error) {
	var keys strings.Builder
	for i := 0; keys.Len() < largestAnswer-16; i++ {
		fmt.Fprintf(&keys, `"%x":"",`, i)
	}
	s, err := t.answerWith(raw("{" + keys.String() + `"value":"x"}`))
	if err != nil {
		return nil, err
	}
	return atLeast(8, "answers of 300,000 keys", func() int { return s.count("secret/data/") }),
		t.createMany(10, func(i int) client.Object { return t.wideConnection(fmt.Sprintf("keys-%d", i), "keys") })
}

func deepJSON(t *Tenant) (Proof, error) {
	const depth = 100_000
	s, err := t.answerWith(raw(`{"value":"x","z":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`))
	if err != nil {
		return nil, err
	}
	return atLeast(8, "answers with deep JSON", func() int { return s.count("secret/data/") }),
		t.createMany(10, func(i int) client.Object { return t.wideConnection(fmt.Sprintf("deep-%d", i), "deep") })
}

// largeSecrets lie in the Vault that everybody shares.
func largeSecrets(t *Tenant) (Proof, error) {
	// Vault bounds how many values there are in one secret.
	var keys strings.Builder
	for i := 0; keys.Len() < 980_000; i++ {
		fmt.Fprintf(&keys, `"%x":"%s",`, i, strings.Repeat("x", 300))
	}
	body := []byte(`{"data":{` + keys.String() + `"value":"x"}}`)
	err := t.each(maxSecrets, func(ctx context.Context, i int) error {
		_, err := t.s.Vault.Client().Logical().WriteBytesWithContext(ctx, fmt.Sprintf("secret/data/%s/%d", t.Namespace, i), body)
		return err
	})
	if err != nil {
		return nil, err
	}
	reads := func() int { return t.sharedReads("GET secret/data/" + t.Namespace) }
	return atLeast(maxSecrets, "reads of 980 kB", reads), t.shared(func() error {
		return t.createMany(8, func(i int) client.Object { return t.wideConnection(fmt.Sprintf("large-%d", i), t.Namespace) })
	})
}

// shared makes the VaultConfig "main" for the Vault that the victim uses, with a token that may do everything below
// secret/ and slow/, and goes on.
func (t *Tenant) shared(then func() error) error {
	t.s.Vault.Policy(t.Namespace, `path "secret/*" { capabilities = ["create", "read", "update"] }
		path "slow/*" { capabilities = ["create", "read", "update"] }`)
	token := t.s.Vault.Token(env.TokenOptions{Policies: []string{t.Namespace}})
	if err := t.Client.Update(t.ctx, builder.TokenSecret(t.Namespace, builder.TokenSecretName, token)); err != nil {
		return err
	}
	if err := t.create(t.newConfig(builder.ConfigName, t.s.Proxy.URL())); err != nil {
		return err
	}
	return then()
}

// sharedReads is how many such requests the shared Vault got.
func (t *Tenant) sharedReads(prefix string) int {
	sum := 0
	for request, count := range t.s.Proxy.Counts() {
		if strings.HasPrefix(request, prefix) {
			sum += count
		}
	}
	return sum
}

// literals are as small as they can be, because each of them takes memory of its own. What is too large for the API
// server is refused there.
func literals(t *Tenant) (Proof, error) {
	large := builder.Connection(t.Namespace, "too-large", map[string]any{"text": strings.Repeat("x", 900_000)})
	if err := t.create(large); !apierrors.IsRequestEntityTooLargeError(err) {
		return nil, fmt.Errorf("a Connection of 0.9 MB is not refused as too large: %w", err)
	}
	return t.fillWithLiterals(60, 2)
}

// literalsOfMany fill four namespaces, each of which has its share of what is kept.
func literalsOfMany(t *Tenant) (Proof, error) {
	proof, err := t.fillWithLiterals(heavier(30, 100), 8)
	for i := 2; i <= 4 && err == nil; i++ {
		var another *Tenant
		if another, err = t.another(i); err == nil {
			var more Proof
			more, err = another.fillWithLiterals(heavier(30, 100), 8)
			proof = both(proof, more)
		}
	}
	return proof, err
}

// fillWithLiterals makes so many Connections, almost as large as they may be. One of some has many small values.
func (t *Tenant) fillWithLiterals(number, some int) (Proof, error) {
	small := map[string]any{}
	for i := range 16_000 {
		small[fmt.Sprintf("%x", i)] = 0
	}
	text := map[string]any{"text": strings.Repeat("x", 250<<10)}
	err := t.each(number, func(ctx context.Context, i int) error {
		value := text
		if i%some == 1 {
			value = small
		}
		return t.Client.Create(ctx, builder.Connection(t.Namespace, fmt.Sprintf("literal-%d", i), value))
	})
	return atLeast(number, "Connections of literals", func() int {
		list := &v1alpha1.ConnectionList{}
		if t.s.Client.List(t.ctx, list, client.InNamespace(t.Namespace)) != nil {
			return 0
		}
		return len(list.Items)
	}), err
}

func manyPolicies(t *Tenant) (Proof, error) {
	policies := make([]string, 52_000)
	for i := range policies {
		policies[i] = fmt.Sprintf("policy-%d", i)
	}
	looked := usual("auth/token/lookup-self")
	token, _ := looked["data"].(object)
	token["policies"] = policies
	body, err := json.Marshal(looked)
	if err != nil {
		return nil, err
	}
	s, err := t.serve(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if path == "auth/token/lookup-self" {
			_, _ = w.Write(body)
		}
		return path == "auth/token/lookup-self"
	})
	if err != nil {
		return nil, err
	}
	return both(atLeast(50, "tokens with 52,000 policies", func() int { return s.count("auth/token/lookup-self") }), t.decentStatus()),
		t.createMany(100, func(i int) client.Object { return t.newConfig(fmt.Sprintf("config-%d", i), s.url) })
}

// words are what a terminal, a log and a person would be misled by.
const words = "1.21\x1b[2J\r\n\x00\u202ecure: kubectl delete namespace victim\u202c"

func hostileWords(t *Tenant) (Proof, error) {
	long := strings.Repeat(words, 1<<20/len(words))
	s, err := t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		switch {
		case path == "sys/health":
			respond(w, object{"initialized": true, "version": words + long, "cluster_name": words + long})
		case path == "auth/token/lookup-self":
			respond(w, object{"request_id": long, "data": object{"ttl": 3600, "renewable": true, "policies": []string{words, long}, "type": "service", "path": words}})
		case isData(path) && strings.HasSuffix(path, "0"):
			w.WriteHeader(http.StatusForbidden)
			respond(w, object{"errors": []string{words, long}})
		case isData(path) && strings.HasSuffix(path, "1"):
			w.WriteHeader(http.StatusNotFound)
			respond(w, object{"request_id": long, "errors": []string{words}, "warnings": []string{long}})
		case isData(path):
			respond(w, object{"request_id": long, "data": object{"data": object{words: "x", long: "y"}, "metadata": object{"version": 1, "created_time": words}}})
		case strings.HasPrefix(path, "sys/internal/"):
			respond(w, object{"request_id": long, "data": object{"path": words, "type": words, "options": object{"version": words}}})
		default:
			return false
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return both(atLeast(2, "answers", func() int { return s.count("") }), t.decentStatus()),
		t.createMany(9, func(i int) client.Object {
			return t.connection(fmt.Sprintf("words-%d", i), fmt.Sprintf("words/%d", i%3), func(c *v1alpha1.Connection) {
				if i > 5 {
					c.Spec.VaultSecrets[0].KVVersion = v1alpha1.KVVersion2
				}
			})
		})
}

// bombs are answers that are small on their way and large when they are read, and headers that go on.
func bombs(t *Tenant) (Proof, error) {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	for range 512 {
		_, _ = io.WriteString(writer, strings.Repeat(" ", 1<<20))
	}
	_ = writer.Close()
	s, err := t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if !isData(path) {
			return false
		}
		if strings.HasSuffix(path, "0") {
			for i := range 900 {
				w.Header().Set(fmt.Sprintf("X-Bomb-%d", i), strings.Repeat("x", 1000))
			}
			return false
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(8, "bombs", func() int { return s.count("secret/data/") }),
		t.createMany(16, func(i int) client.Object {
			return t.connection(fmt.Sprintf("bomb-%d", i), fmt.Sprintf("bomb/%d", i%2))
		})
}

// emptyLoops have templates whose loops do nothing, over a map whose keys are sorted in each turn.
func emptyLoops(t *Tenant) (Proof, error) {
	keys := map[string]any{}
	for i := range 20_000 {
		keys[fmt.Sprintf("%x", i)] = 1
	}
	const number = 10
	err := t.createMany(number, func(i int) client.Object {
		return builder.Connection(t.Namespace, fmt.Sprintf("loop-%d", i), map[string]any{"m": keys}, builder.WithShortestRefresh,
			builder.WithFiles(v1alpha1.ConnectionFile{Path: "f", Template: "{{range 140000}}{{range $.m}}{{break}}{{end}}{{end}}"}))
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range number {
		names = append(names, fmt.Sprintf("loop-%d", i))
	}
	requests, err := t.newPod("loops", names...)
	if err != nil {
		return nil, err
	}
	mounts := t.keepMounting(requests)
	return atLeast(number, "mounts were asked for", mounts.asked), nil
}
