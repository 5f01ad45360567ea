package shares

// Counts count what is held by key, and bound it in all and for each key. Whoever has them guards them with a lock of
// his own.
type Counts[K comparable] struct {
	max, maxOfKey int

	all   int
	byKey map[K]int
}

// NewCounts returns Counts with these bounds.
func NewCounts[K comparable](all, ofKey int) Counts[K] {
	return Counts[K]{max: all, maxOfKey: ofKey, byKey: map[K]int{}}
}

// Take counts one more of a key, if there is room for it.
func (c *Counts[K]) Take(key K) bool {
	if c.all >= c.max || c.byKey[key] >= c.maxOfKey {
		return false
	}
	c.all++
	c.byKey[key]++
	return true
}

// Give back so many of a key.
func (c *Counts[K]) Give(key K, number int) {
	c.all -= number
	if c.byKey[key] -= number; c.byKey[key] <= 0 {
		delete(c.byKey, key)
	}
}

// All is how many there are.
func (c *Counts[K]) All() int { return c.all }

// Of is how many there are of a key.
func (c *Counts[K]) Of(key K) int { return c.byKey[key] }
