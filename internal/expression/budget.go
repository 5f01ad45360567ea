package expression

import (
	"encoding/json"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxEvaluatedBytes is the cap on all that one evaluation puts in place. A short value can name a large secret a hundred thousand
// times; without a cap its author could use up the memory of the resolver. It is well above what a volume or a
// secret in Vault may hold, so an honest value meets those limits, and their better sentences, first.
const maxEvaluatedBytes = 4 << 20

// budget is how many bytes of JSON may still be put in place.
type budget struct {
	left int
}

func newBudget() *budget { return &budget{left: maxEvaluatedBytes} }

// copy returns a deep copy of a JSON value, or a fault that says nothing about it but its type. It stops as soon as the budget is used up.
func (b *budget) copy(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool:
		return value, b.take(len("false"))
	case json.Number:
		return v, b.take(len(v))
	case string:
		return v, b.take(len(v) + len(`""`))
	case []any:
		return b.copyList(v)
	case map[string]any:
		return b.copyObject(v)
	default:
		return nil, fault.Transient(v1alpha1.ReasonInternal, "a Go value of type %T is no JSON value", value)
	}
}

func (b *budget) copyList(list []any) (any, error) {
	if err := b.take(len("[]")); err != nil {
		return nil, err
	}
	own := make([]any, 0, len(list))
	for _, item := range list {
		value, err := b.copy(item)
		if err != nil {
			return nil, err
		}
		own = append(own, value)
	}
	return own, nil
}

func (b *budget) copyObject(object map[string]any) (any, error) {
	if err := b.take(len("{}")); err != nil {
		return nil, err
	}
	own := make(map[string]any, len(object))
	for key, item := range object {
		if err := b.take(len(key) + len(`"":`)); err != nil {
			return nil, err
		}
		value, err := b.copy(item)
		if err != nil {
			return nil, err
		}
		own[key] = value
	}
	return own, nil
}

func (b *budget) take(bytes int) error {
	b.left -= bytes
	if b.left >= 0 {
		return nil
	}
	return fault.Waiting(v1alpha1.ReasonTooLarge, "with it, what the references put in place exceeds %d bytes; "+
		"use fewer references or smaller secrets", maxEvaluatedBytes)
}
