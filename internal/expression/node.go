package expression

// node is a JSON value with parsed strings.
type node interface {
	// references appends the references below the node.
	references(to []Placed) []Placed
	// evaluate returns a value that shares nothing with the node.
	evaluate(lookup Lookup, copies *copier) (any, error)
	// outline returns a value with unknown's answer in the place of every string that holds a reference.
	outline(unknown func(Text) any) any
}

// scalar is a value without references: null, a bool, a number or a string.
type scalar struct{ value any }

func (s scalar) references(to []Placed) []Placed { return to }

func (s scalar) evaluate(Lookup, *copier) (any, error) { return s.value, nil }

func (s scalar) outline(func(Text) any) any { return s.value }

// leaf is a string with its place.
type leaf struct {
	noun  string
	place string
	text  Text
}

func (l leaf) references(to []Placed) []Placed {
	for _, reference := range l.text.References() {
		to = append(to, Placed{Place: l.place, Reference: reference, noun: l.noun})
	}
	return to
}

func (l leaf) evaluate(lookup Lookup, copies *copier) (any, error) {
	value, err := l.text.evaluate(lookup, copies)
	if err != nil {
		return nil, in(err, l.noun, bounded(l.place))
	}
	return value, nil
}

func (l leaf) outline(unknown func(Text) any) any { return unknown(l.text) }

type list []node

func (l list) references(to []Placed) []Placed {
	for _, item := range l {
		to = item.references(to)
	}
	return to
}

func (l list) evaluate(lookup Lookup, copies *copier) (any, error) {
	values := make([]any, 0, len(l))
	for _, item := range l {
		value, err := item.evaluate(lookup, copies)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

func (l list) outline(unknown func(Text) any) any {
	values := make([]any, 0, len(l))
	for _, item := range l {
		values = append(values, item.outline(unknown))
	}
	return values
}

type object map[string]node

func (o object) references(to []Placed) []Placed {
	for _, key := range sortedKeys(o) {
		to = o[key].references(to)
	}
	return to
}

func (o object) evaluate(lookup Lookup, copies *copier) (any, error) {
	values := make(map[string]any, len(o))
	for _, key := range sortedKeys(o) {
		value, err := o[key].evaluate(lookup, copies)
		if err != nil {
			return nil, err
		}
		values[key] = value
	}
	return values, nil
}

func (o object) outline(unknown func(Text) any) any {
	values := make(map[string]any, len(o))
	for key, item := range o {
		values[key] = item.outline(unknown)
	}
	return values
}
