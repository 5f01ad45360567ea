package abridged

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// pageSize is how many objects a list has in memory whole at one moment: at worst 16 VaultTasks of 768 KiB, while
// requests, which the rest of the memory is for, wait for the list.
const pageSize = 16

// NewInformer returns an informer for objects that may be large. Where the API server does not stream what it has
// (WatchList, from Kubernetes 1.34 on), a reflector would gather all pages of a list and only then have them
// transformed; this one lists by small pages, and of each only what Transform keeps stays.
func NewInformer(
	source toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	from := toolscache.ToListerWatcherWithContext(source)
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return listInPages(ctx, options, from.ListWithContext)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return from.WatchWithContext(ctx, options)
		},
	}, object, resync, indexers)
}

// listInPages returns the whole list, of which each object is as Transform makes it. It is as new as there is, whatever
// version is asked for: the API server pages no other, but answers from its own cache at once.
func listInPages(
	ctx context.Context, options metav1.ListOptions,
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
) (runtime.Object, error) {
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	options.Limit, options.Continue = pageSize, ""
	var kept []runtime.Object
	for {
		page, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		if kept, err = keepPage(page, kept); err != nil { //nolint:contextcheck // Transform has no use for one
			return nil, err
		}
		accessor, err := meta.ListAccessor(page)
		if err != nil {
			return nil, err
		}
		if options.Continue = accessor.GetContinue(); options.Continue == "" {
			return page, meta.SetList(page, kept)
		}
	}
}

// keepPage adds what is kept of a page. The page itself, which holds its objects in one piece of memory, is free then.
func keepPage(page runtime.Object, kept []runtime.Object) ([]runtime.Object, error) {
	err := meta.EachListItem(page, func(item runtime.Object) error {
		transformed, err := Transform(item)
		if err != nil {
			return err
		}
		if object, ok := transformed.(runtime.Object); ok {
			kept = append(kept, object.DeepCopyObject())
		}
		return nil
	})
	return kept, err
}
