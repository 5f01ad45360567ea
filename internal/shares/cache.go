package shares

import (
	"container/list"
	"sync"
)

// Cache remembers what fits: of one namespace no more than its share, and all of them together no more than the whole,
// by weight. What was longest not asked for gives way: that of the same namespace where its share is full, and that of
// the namespace that has the most where all is. It is safe for concurrent use.
//
// LRUExpireCache does not do: it counts entries and knows neither weights nor namespaces.
type Cache[K comparable, V any] struct {
	all, share int64

	mu         sync.Mutex
	weight     int64
	byKey      map[K]*list.Element
	namespaces map[string]*part
}

// part is what is remembered of one namespace, in the order in which it was asked for, the latest first.
type part struct {
	weight int64
	order  *list.List
}

type cached[K comparable, V any] struct {
	namespace string
	key       K
	value     V
	weight    int64
}

// NewCache returns a Cache for that much weight in all, and for one namespace.
func NewCache[K comparable, V any](all, share int64) *Cache[K, V] {
	return &Cache[K, V]{all: all, share: share, byKey: map[K]*list.Element{}, namespaces: map[string]*part{}}
}

// Get returns what is remembered of a key.
func (c *Cache[K, V]) Get(key K) (value V, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.byKey[key]
	if element == nil {
		return value, false
	}
	entry := entryOf[K, V](element)
	c.namespaces[entry.namespace].order.MoveToFront(element)
	return entry.value, true
}

// Add remembers a value of a namespace's, in place of what was there of the key. What weighs more than a share is not
// kept.
func (c *Cache[K, V]) Add(namespace string, key K, value V, weight int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	if weight > c.share {
		return
	}
	for c.weight+weight > c.all {
		c.removeOldest(c.heaviest())
	}
	mine := c.namespaces[namespace]
	for mine != nil && mine.weight+weight > c.share {
		c.removeOldest(mine)
	}
	if mine = c.namespaces[namespace]; mine == nil { // its last entry may just have gone
		mine = &part{order: list.New()}
		c.namespaces[namespace] = mine
	}
	c.byKey[key] = mine.order.PushFront(&cached[K, V]{namespace: namespace, key: key, value: value, weight: weight})
	mine.weight += weight
	c.weight += weight
}

// Fits tells whether there is room for so much more of a namespace's without that anything gives way.
func (c *Cache[K, V]) Fits(namespace string, weight int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := int64(0)
	if p := c.namespaces[namespace]; p != nil {
		mine = p.weight
	}
	return mine+weight <= c.share && c.weight+weight <= c.all
}

// Remove forgets a key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

// RemoveFunc forgets whatever a function says.
func (c *Cache[K, V]) RemoveFunc(gone func(key K, value V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, element := range c.byKey {
		if gone(key, entryOf[K, V](element).value) {
			c.remove(key)
		}
	}
}

// Each calls a function for everything that is remembered.
func (c *Cache[K, V]) Each(do func(key K, value V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, element := range c.byKey {
		do(key, entryOf[K, V](element).value)
	}
}

// Len is how many keys are remembered.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}

func (c *Cache[K, V]) heaviest() *part {
	var most *part
	for _, p := range c.namespaces {
		if most == nil || p.weight > most.weight {
			most = p
		}
	}
	return most
}

func (c *Cache[K, V]) removeOldest(p *part) { c.remove(entryOf[K, V](p.order.Back()).key) }

func (c *Cache[K, V]) remove(key K) {
	element := c.byKey[key]
	if element == nil {
		return
	}
	entry := entryOf[K, V](element)
	mine := c.namespaces[entry.namespace]
	mine.order.Remove(element)
	mine.weight -= entry.weight
	c.weight -= entry.weight
	delete(c.byKey, key)
	if mine.order.Len() == 0 {
		delete(c.namespaces, entry.namespace)
	}
}

func entryOf[K comparable, V any](element *list.Element) *cached[K, V] {
	entry, _ := element.Value.(*cached[K, V])
	return entry
}
