package restart

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	// turnInterval is how often those that wait ask for their turn, and how old what is known of the others may be.
	turnInterval = 5 * time.Second
	// pageSize bounds what is in memory while a namespace's workloads are listed: annotations are their authors'.
	pageSize = 50
)

// member is a workload in the batches of its namespace.
type member struct {
	kind, name string
}

func (m member) String() string { return m.kind + " " + m.name }

// batches lets as many workloads of a namespace roll at a time as the namespace says. The others wait in the order in
// which they came. Who rolls is read from the workloads, who waits is found out anew by whichever replica leads.
type batches struct {
	live  client.Reader
	clock clock.PassiveClock
	kinds []kind
	// rooms are the namespaces that have had a limit, by name.
	rooms sync.Map
}

// room is what is known of one namespace.
type room struct {
	// mu is held while the API server is asked: who else has a question there waits for the same answer.
	mu sync.Mutex
	// complete: all that roll are known.
	complete bool
	// looked is when they were looked at last.
	looked  time.Time
	rolling map[member]*rolling
	waiting []member
}

// rolling is a workload that was rolled by us, and is not done yet.
type rolling struct {
	// begins: the write that rolls it is under way.
	begins bool
	// mark is how far it is, and since when.
	mark  string
	since time.Time
}

// limitOf returns how many workloads of a namespace may roll at a time, 0 for any number. What is no number is taken
// for the most careful one.
func limitOf(namespace client.Object) int {
	text, given := namespace.GetLabels()[v1alpha1.LabelRestartMaxUnavailable]
	if !given {
		return 0
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 1
	}
	return limit
}

// enter returns what is known of a namespace, locked.
func (b *batches) enter(namespace string) *room {
	found, _ := b.rooms.LoadOrStore(namespace, &room{rolling: map[member]*rolling{}})
	in, _ := found.(*room)
	in.mu.Lock()
	return in
}

// behind tells whether a workload waits already and its turn has not come; for that nobody looks at the workload.
func (b *batches) behind(ctx context.Context, namespace string, m member, limit int) (bool, error) {
	if _, known := b.rooms.Load(namespace); !known || limit == 0 {
		return false, nil
	}
	in := b.enter(namespace)
	defer in.mu.Unlock()
	place := slices.Index(in.waiting, m)
	if place < 0 {
		return false, nil
	}
	if err := b.look(ctx, namespace, in); err != nil {
		return false, err
	}
	return place >= limit-len(in.rolling), nil
}

// turn tells whether a workload may be rolled now. If so, it counts as rolling until its roll-out is over. If not, it
// waits, and those are returned that it waits for.
func (b *batches) turn(
	ctx context.Context, namespace string, m member, limit int,
) (now bool, others []string, err error) {
	if limit == 0 {
		if _, known := b.rooms.Load(namespace); known {
			in := b.enter(namespace)
			in.complete = false // nobody counts now
			in.mu.Unlock()
		}
		return true, nil, nil
	}
	in := b.enter(namespace)
	defer in.mu.Unlock()
	if err := b.look(ctx, namespace, in); err != nil {
		return false, nil, err
	}
	// One that rolls already is unavailable anyhow, and what it rolls for is of no use any more.
	if in.rolling[m] == nil {
		place := slices.Index(in.waiting, m)
		if place < 0 {
			place = len(in.waiting)
			in.waiting = append(in.waiting, m)
		}
		if place >= limit-len(in.rolling) {
			for other := range in.rolling {
				others = append(others, other.String())
			}
			slices.Sort(others)
			return false, others, nil
		}
		in.waiting = slices.Delete(in.waiting, place, place+1)
	}
	in.rolling[m] = &rolling{begins: true}
	return true, nil, nil
}

// rolled says that a turn was taken. Whether the workload is really rolled, even where the API server did not answer,
// is seen like the progress of the others.
func (b *batches) rolled(namespace string, m member) {
	if _, known := b.rooms.Load(namespace); !known {
		return
	}
	in := b.enter(namespace)
	defer in.mu.Unlock()
	if entry := in.rolling[m]; entry != nil {
		entry.begins, entry.since = false, b.clock.Now()
	}
}

// leave says that a workload has nothing to wait for.
func (b *batches) leave(namespace string, m member) {
	if _, known := b.rooms.Load(namespace); !known {
		return
	}
	in := b.enter(namespace)
	defer in.mu.Unlock()
	in.waiting = slices.DeleteFunc(in.waiting, func(other member) bool { return other == m })
}

// look finds out which of those that roll are done. What was rolled before this replica led, or before the namespace
// had a limit, is looked for once.
func (b *batches) look(ctx context.Context, namespace string, in *room) error {
	now := b.clock.Now()
	if !in.complete {
		for _, k := range b.kinds {
			if err := b.find(ctx, namespace, k, in); err != nil {
				return err
			}
		}
		in.complete, in.looked = true, time.Time{}
	}
	if now.Sub(in.looked) < turnInterval {
		return nil
	}
	for m, entry := range in.rolling {
		if entry.begins {
			continue
		}
		far, err := b.progress(ctx, namespace, m)
		if err != nil {
			return err
		}
		if far.mark != entry.mark {
			entry.mark, entry.since = far.mark, now
		}
		if far.over || now.Sub(entry.since) >= far.deadline {
			delete(in.rolling, m)
		}
	}
	in.looked = now
	return nil
}

// find takes the workloads of a kind that we have rolled at some time for rolling, until they are looked at.
func (b *batches) find(ctx context.Context, namespace string, k kind, in *room) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	for {
		err := b.live.List(ctx, list, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(list.Continue))
		if k.optional && (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range list.Items {
			m := member{kind: k.Kind, name: list.Items[i].Name}
			_, ours := list.Items[i].Annotations[v1alpha1.AnnotationRestartedAt]
			if ours && in.rolling[m] == nil {
				in.rolling[m] = &rolling{since: b.clock.Now()}
			}
		}
		if list.Continue == "" {
			return nil
		}
	}
}

// progress reads how far a workload is. One that is gone is done.
func (b *batches) progress(ctx context.Context, namespace string, m member) (progress, error) {
	for _, k := range b.kinds {
		if k.Kind != m.kind {
			continue
		}
		workload := k.new()
		err := b.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: m.name}, workload)
		if err == nil && workload.GetDeletionTimestamp().IsZero() {
			return k.progress(workload), nil
		}
		if !meta.IsNoMatchError(err) && client.IgnoreNotFound(err) != nil {
			return progress{}, err
		}
	}
	return progress{over: true}, nil
}
