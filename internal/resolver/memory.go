package resolver

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxKept bounds what the secrets of one request take of the heap until its files are made: twice what references
	// may put in place.
	maxKept = 8 << 20
	// maxParsed bounds what a Connection's value takes once it is parsed: more than the API server accepts of literal
	// text, and less than it accepts of empty objects.
	maxParsed = 3 << 20
	// parsedTimes is how often a parsed value exists at one moment: decoded, as nodes, and with its references resolved.
	parsedTimes = 3
	// requestPrice is for a request itself, and readPrice for each of its reads that are under way: a small response and
	// what it is decoded to.
	requestPrice = 32 << 10
	readPrice    = 128 << 10
	// keyPrice is for a key's places in maps.
	keyPrice = 100
	// makingPrice is for files while they are made: what a volume holds, and the buffer that grows to it.
	makingPrice = 2 << 20
	// parsingPrice is besides, at most, for JSON in texts that fields of references lead into, as it is parsed. A byte of
	// it takes parsedPerByte at most: "[]" is a list. Only so much is asked for: with the most beside it nobody else's
	// files could be made, and who needs that waits until nobody's are.
	parsingPrice  = expression.MaxParsedJSON
	parsedPerByte = 200
)

// gates are those that the requests of an engine pass.
type gates struct {
	// work is for requests from their beginning to their end, kept for what they have of secrets, making for the moment
	// in which files are made.
	work, kept, making *shares.Gate
}

func newGates() gates {
	return gates{
		work:   shares.NewGate(heap.Work, heap.WorkShare),
		kept:   shares.NewGate(heap.Kept, heap.KeptShare),
		making: shares.NewGate(heap.Making, heap.MakingShare),
	}
}

// begin waits until there is room for a request that parses a Connection, or says why there never will be. The caller
// releases what it is given.
func (g gates) begin(ctx context.Context, connection *v1alpha1.Connection) (*memory, error) {
	// One reference may need each secret that is attached.
	size, reads := int64(0), len(connection.Spec.VaultSecrets)
	for key, value := range connection.Spec.Value {
		size += int64(len(key)) + keyPrice + heap.OfJSON(value.Raw, maxParsed)
		reads += bytes.Count(value.Raw, []byte("vault."))
		if size >= maxParsed {
			return nil, fault.Terminal(v1alpha1.ReasonTooLarge, "value takes more than %d MiB of memory once it is parsed", maxParsed>>20).
				WithRemedy("use fewer and larger values, or several Connections")
		}
	}
	for i := range connection.Spec.Files {
		file := &connection.Spec.Files[i]
		texts := []string{file.Value}
		if file.Keystore != nil {
			texts = append(slices.Clone(file.Keystore.Certificates), file.Keystore.PrivateKey, file.Keystore.Password)
		}
		size += int64(len(file.Template))
		for _, text := range texts {
			size += int64(len(text))
			reads += strings.Count(text, "vault.")
		}
	}
	weight := requestPrice + parsedTimes*size + readPrice*int64(min(reads, maxParallel))
	leave, err := g.work.Enter(ctx, connection.Namespace, weight)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonRateLimited,
			"the requests that are under way for namespace %s, or for all, take all the memory that they may", connection.Namespace).
			WithRemedy("this passes; smaller Connections or fewer pods at a time avoid it")
	}
	return &memory{gates: g, namespace: connection.Namespace, leaves: []func(){leave}}, nil
}

// memory is what a request has until it ends.
type memory struct {
	gates     gates
	namespace string
	// parses: some reference leads into a value, which may be JSON in text.
	parses bool

	mu     sync.Mutex
	kept   int64
	leaves []func()
	// texts are the bytes that may be JSON in what is kept.
	texts int64
}

// reserve makes room for values of the secret at a path, or says why there is none.
func (m *memory) reserve(path string, values map[string]any) error {
	size := heap.Of(values)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept+size > maxKept {
		return fault.Waiting(v1alpha1.ReasonTooLarge, "what references want of %s and the other secrets takes more than %d MiB of memory",
			path, maxKept>>20).WithRemedy("refer to less, or use several Connections")
	}
	leave, entered := m.gates.kept.TryEnter(m.namespace, size)
	if !entered {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"the secrets of the requests that are under way for namespace %s, or for all, take all the memory that they may", m.namespace).
			WithRemedy("this passes; smaller secrets or fewer pods at a time avoid it")
	}
	m.kept += size
	m.leaves = append(m.leaves, leave)
	if m.parses {
		for _, value := range values {
			m.texts += parseable(value)
		}
	}
	return nil
}

// parseable is how many bytes of a value are in texts that may be JSON.
func parseable(value any) (size int64) {
	switch v := value.(type) {
	case string:
		if expression.MayBeJSON(v) {
			return int64(len(v))
		}
	case []any:
		for _, item := range v {
			size += parseable(item)
		}
	case map[string]any:
		for _, item := range v {
			size += parseable(item)
		}
	}
	return size
}

// making waits for its turn to make files. Nobody waits for a Vault meanwhile, so that it comes soon.
func (m *memory) making(ctx context.Context, do func() error) error {
	price := int64(makingPrice)
	m.mu.Lock()
	price += min(m.texts*parsedPerByte, parsingPrice)
	m.mu.Unlock()
	leave, err := m.gates.making.Enter(ctx, m.namespace, price)
	if err != nil {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"the files that are made for namespace %s, or for all, take all the memory that they may", m.namespace).
			WithRemedy("this passes; smaller Connections or fewer pods at a time avoid it")
	}
	defer leave()
	return do()
}

// release gives all of it back.
func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, leave := range m.leaves {
		leave()
	}
	m.kept, m.texts, m.leaves = 0, 0, nil
}
