package abridged

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// fetchTime bounds one read from the API server.
	fetchTime = 10 * time.Second
	// fetchWeight is how many times its size an object takes while it is read and decoded.
	fetchWeight = 4
)

// Client is a client with a cache whose informers use Transform. Get returns the whole of an object in any case; List
// returns what the cache keeps.
type Client struct {
	client.Client
	live client.Reader

	wholes  *shares.Cache[wholeKey, client.Object]
	fetches *shares.Gate
	flights flight.Group[client.Object]
}

// wholeKey names what an author wrote: the same UID and generation are the same spec.
type wholeKey struct {
	uid        types.UID
	generation int64
}

// NewClient returns a Client. live reads from the API server.
func NewClient(cached client.Client, live client.Reader) *Client {
	return &Client{
		Client: cached, live: live,
		wholes:  shares.NewCache[wholeKey, client.Object](heap.Specs, heap.SpecsShare),
		fetches: shares.NewGate(heap.Fetching, heap.FetchingShare),
	}
}

// Get implements client.Client.
func (c *Client) Get(
	ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	if err := c.Client.Get(ctx, key, object, options...); err != nil {
		return err
	}
	size, abridged := abridgedSize(object)
	if !abridged {
		return nil
	}
	found, err := c.whole(ctx, key, object, size)
	if err != nil {
		return err
	}
	return complete(object, found)
}

// whole returns an object as the API server has it, or had it when it had the same generation. It is shared.
func (c *Client) whole(
	ctx context.Context, key client.ObjectKey, object client.Object, size int64,
) (client.Object, error) {
	version := wholeKey{object.GetUID(), object.GetGeneration()}
	if found, ok := c.wholes.Get(version); ok {
		return found, nil
	}
	flight := fmt.Sprint(version)
	found, landed, err := c.flights.Join(ctx, flight, fetchTime, func(ctx context.Context) (client.Object, error) {
		leave, err := c.fetches.Enter(ctx, key.Namespace, fetchWeight*size)
		if err != nil {
			return nil, noRoom(key)
		}
		defer leave()
		found, err := empty(object)
		if err != nil {
			return nil, err
		}
		if err := c.live.Get(ctx, key, found); err != nil {
			return nil, err
		}
		found.SetManagedFields(nil)
		// Whether a task was claimed must be read anew each time, and its data are used once.
		if _, isTask := found.(*v1alpha1.VaultTask); !isTask {
			c.wholes.Add(key.Namespace, wholeKey{found.GetUID(), found.GetGeneration()}, found, size)
		}
		return found, nil
	})
	if !landed && errors.Is(err, context.DeadlineExceeded) {
		return nil, noRoom(key)
	}
	return found, err
}

// noRoom is why a large object was not read in the time there was: others of its namespace, or of all, were.
func noRoom(key client.ObjectKey) error {
	return fault.Transient(v1alpha1.ReasonRateLimited,
		"%s is larger than what is kept in memory, and others of namespace %s, or of all, take the memory for reading it",
		key, key.Namespace).WithRemedy("this passes; smaller objects avoid it")
}

func empty(object client.Object) (client.Object, error) {
	switch object.(type) {
	case *v1alpha1.Connection:
		return &v1alpha1.Connection{}, nil
	case *v1alpha1.VaultConfig:
		return &v1alpha1.VaultConfig{}, nil
	case *v1alpha1.VaultTask:
		return &v1alpha1.VaultTask{}, nil
	}
	return nil, fmt.Errorf("%T is never abridged", object)
}

// complete makes the whole of an abridged object: what the author wrote from the one, and the status that the cache
// knows, with the version that a write of it is compared with.
func complete(object, whole client.Object) error {
	same := object.GetUID() == whole.GetUID() && object.GetGeneration() == whole.GetGeneration()
	version := object.GetResourceVersion()
	switch into := object.(type) {
	case *v1alpha1.Connection:
		status := into.Status
		from, _ := whole.(*v1alpha1.Connection)
		if from.DeepCopyInto(into); same {
			into.Status, into.ResourceVersion = status, version
		}
	case *v1alpha1.VaultConfig:
		status := into.Status
		from, _ := whole.(*v1alpha1.VaultConfig)
		if from.DeepCopyInto(into); same {
			into.Status, into.ResourceVersion = status, version
		}
	case *v1alpha1.VaultTask:
		from, _ := whole.(*v1alpha1.VaultTask)
		from.DeepCopyInto(into)
	default:
		return fmt.Errorf("%T is never abridged", object)
	}
	delete(object.GetAnnotations(), sizeAnnotation) // its author wrote it
	return nil
}
