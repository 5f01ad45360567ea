package volume

import (
	"maps"
	"slices"
	"sync"
)

// Table holds the published volumes by ID.
type Table struct {
	mu      sync.Mutex
	volumes map[string]*Volume
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{volumes: map[string]*Volume{}} }

// Get returns the volume, or nil.
func (t *Table) Get(id string) *Volume {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.volumes[id]
}

// Put adds the volume.
func (t *Table) Put(v *Volume) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.volumes[v.ID] = v
}

// Remove drops the volume.
func (t *Table) Remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.volumes, id)
}

// All returns the volumes in no order.
func (t *Table) All() []*Volume {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.volumes))
}
