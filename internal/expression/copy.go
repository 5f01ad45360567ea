package expression

import (
	"context"
	"encoding/json"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxEvaluatedBytes is the cap on the bytes that one evaluation copies. A short value can name a large secret a hundred
// thousand times; without a cap its author could use up the memory of the resolver. It is well above the limits of a
// volume and of a secret in Vault, so an honest value meets those, with their better sentences, first.
const maxEvaluatedBytes = 4 << 20

// copier makes deep copies of JSON values, up to a number of bytes for all of them together.
type copier struct {
	left int
	// parsed are texts of JSON that fields led into, and parsedSize what these take of memory.
	parsed     map[string]any
	parsedSize int64
	// interrupted returns an error when the request has ended.
	interrupted func() error
}

func newCopier(ctx context.Context) *copier {
	return &copier{left: maxEvaluatedBytes, interrupted: ctx.Err}
}

// copy returns a deep copy of a JSON value, or a fault that says nothing about it but its type. It stops at the cap.
func (c *copier) copy(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool:
		return value, c.take(len("false"))
	case json.Number:
		return v, c.take(len(v))
	case string:
		return v, c.take(len(v) + len(`""`))
	case Opaque:
		return c.copy(string(v))
	case []any:
		return c.copyList(v)
	case map[string]any:
		return c.copyObject(v)
	default:
		return nil, fault.Transient(v1alpha1.ReasonInternal, "a Go value of type %T is no JSON value", value)
	}
}

func (c *copier) copyList(list []any) (any, error) {
	if err := c.take(len("[]")); err != nil {
		return nil, err
	}
	own := make([]any, 0, len(list))
	for _, item := range list {
		value, err := c.copy(item)
		if err != nil {
			return nil, err
		}
		own = append(own, value)
	}
	return own, nil
}

func (c *copier) copyObject(object map[string]any) (any, error) {
	if err := c.take(len("{}")); err != nil {
		return nil, err
	}
	own := make(map[string]any, len(object))
	for key, item := range object {
		if err := c.take(len(key) + len(`"":`)); err != nil {
			return nil, err
		}
		value, err := c.copy(item)
		if err != nil {
			return nil, err
		}
		own[key] = value
	}
	return own, nil
}

func (c *copier) take(bytes int) error {
	if err := c.interrupted(); err != nil {
		return err
	}
	c.left -= bytes
	if c.left >= 0 {
		return nil
	}
	return fault.Waiting(v1alpha1.ReasonTooLarge, "with it, what the references put in place exceeds %d bytes",
		maxEvaluatedBytes).WithRemedy("use fewer references or smaller secrets")
}
