package projection

// These make functions of templates from ours: what has an Unknown among its arguments is Unknown. Arguments are of
// type any, for a template cannot give an Unknown to another. Those that end in Text are for functions that write what
// they are given in another form, in which it can be recognised: with a Mask among its arguments the result is one.

func unary[R any](f functions, do func(a any) (R, error)) func(a any) (any, error) {
	return func(a any) (any, error) {
		if f.budget.holdsUnknown(a) {
			return Unknown{}, nil
		}
		return do(a)
	}
}

func binary[R any](f functions, do func(a, b any) (R, error)) func(a, b any) (any, error) {
	return func(a, b any) (any, error) {
		if f.budget.holdsUnknown(a, b) {
			return Unknown{}, nil
		}
		return do(a, b)
	}
}

func ternary[R any](f functions, do func(a, b, c any) (R, error)) func(a, b, c any) (any, error) {
	return func(a, b, c any) (any, error) {
		if f.budget.holdsUnknown(a, b, c) {
			return Unknown{}, nil
		}
		return do(a, b, c)
	}
}

func variadic[R any](
	f functions, do func(first any, others ...any) (R, error),
) func(first any, others ...any) (any, error) {
	return func(first any, others ...any) (any, error) {
		if f.budget.holdsUnknown(first) || f.budget.holdsUnknown(others...) {
			return Unknown{}, nil
		}
		return do(first, others...)
	}
}

func unaryText(f functions, do func(a any) (string, error)) func(a any) (any, error) {
	return func(a any) (any, error) {
		return f.written(func(given []any) (string, error) { return do(given[0]) }, a)
	}
}

func binaryText(f functions, do func(a, b any) (string, error)) func(a, b any) (any, error) {
	return func(a, b any) (any, error) {
		return f.written(func(given []any) (string, error) { return do(given[0], given[1]) }, a, b)
	}
}

func variadicText(
	f functions, do func(first any, others ...any) (string, error),
) func(first any, others ...any) (any, error) {
	return func(first any, others ...any) (any, error) {
		given := append([]any{first}, others...)
		return f.written(func(given []any) (string, error) { return do(given[0], given[1:]...) }, given...)
	}
}

func (f functions) written(do func(given []any) (string, error), given ...any) (any, error) {
	if !f.budget.holdsUnknown(given...) {
		return do(given)
	}
	if !f.budget.showing {
		return Unknown{}, nil
	}
	shown := make([]any, len(given))
	for i, argument := range given {
		var has bool
		if shown[i], has = unmasked(argument); !has {
			return Unknown{}, nil
		}
	}
	text, err := do(shown)
	if err != nil {
		return Unknown{}, nil //nolint:nilerr // a value may be what a mask is not: a list, a number
	}
	return Mask(text), nil
}

// orDefault is defaultTo for templates. What a Mask stands for counts as given.
func (f functions) orDefault(other, value any) (any, error) {
	if !f.budget.showing && f.budget.holdsUnknown(other, value) {
		return Unknown{}, nil
	}
	return defaultTo(other, value)
}
