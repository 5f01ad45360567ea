package lease

// shares count the entries of a memory, in all and by namespace, and bound both. The owner of the memory guards them.
type shares struct {
	max, maxOfNamespace int

	all         int
	byNamespace map[string]int
}

// take counts one more entry of a namespace, if there is room for it.
func (s *shares) take(namespace string) bool {
	if s.all >= s.max || s.byNamespace[namespace] >= s.maxOfNamespace {
		return false
	}
	if s.byNamespace == nil {
		s.byNamespace = map[string]int{}
	}
	s.all++
	s.byNamespace[namespace]++
	return true
}

// give back what so many entries of a namespace took.
func (s *shares) give(namespace string, entries int) {
	s.all -= entries
	if s.byNamespace[namespace] -= entries; s.byNamespace[namespace] <= 0 {
		delete(s.byNamespace, namespace)
	}
}
