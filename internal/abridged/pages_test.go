package abridged

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// pages is an API server that streams nothing: it has so many Connections of 200 KiB, and every tenth is small.
type pages struct {
	number  int
	largest uint64
	asked   int
}

func (p *pages) List(options metav1.ListOptions) (apiruntime.Object, error) {
	return p.ListWithContext(context.Background(), options)
}

func (p *pages) ListWithContext(_ context.Context, options metav1.ListOptions) (apiruntime.Object, error) {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	p.largest, p.asked = max(p.largest, stats.HeapAlloc), p.asked+1
	from, _ := strconv.Atoi(options.Continue)
	to := p.number
	if options.Limit > 0 && options.ResourceVersion == "" { // any other version is answered at once
		to = min(from+int(options.Limit), p.number)
	}
	list := &v1alpha1.ConnectionList{}
	list.ResourceVersion = "7"
	for i := from; i < to; i++ {
		text := strings.Repeat("x", 200<<10)
		if i%10 == 0 {
			text = "x"
		}
		list.Items = append(list.Items, *builder.Connection("shop", fmt.Sprint("c", i), map[string]any{"text": text}))
	}
	if to < p.number {
		list.Continue = strconv.Itoa(to)
	}
	return list, nil
}

func (p *pages) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return p.WatchWithContext(context.Background(), options)
}

func (p *pages) WatchWithContext(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if options.SendInitialEvents != nil {
		return nil, fmt.Errorf("streams nothing")
	}
	return watch.NewFake(), nil
}

func TestAListIsNeverWholeInMemory(t *testing.T) {
	g := NewWithT(t)
	const number = 400
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	source := &pages{number: number}
	informer := NewInformer(source, &v1alpha1.Connection{}, 0, toolscache.Indexers{})
	g.Expect(informer.SetTransform(Transform)).To(Succeed())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		informer.RunWithContext(ctx)
	}()
	g.Expect(toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced)).To(BeTrue())
	g.Expect(informer.GetStore().List()).To(HaveLen(number))
	g.Expect(source.asked).To(Equal(number / pageSize))
	g.Expect(int64(source.largest)-int64(before.HeapAlloc)).To(BeNumerically("<", 20<<20), "all together have 80 MiB")
	for _, object := range informer.GetStore().List() {
		connection, _ := object.(*v1alpha1.Connection)
		g.Expect(Is(connection)).To(Equal(len(connection.Spec.Value) == 0), connection.Name)
	}
	cancel()
	<-stopped
}
