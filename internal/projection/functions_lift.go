package projection

// These make functions of templates from ours: what has an Unknown among its arguments is Unknown. Arguments are of
// type any, for a template cannot give an Unknown to another.

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
