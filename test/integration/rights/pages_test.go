package rights

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/app"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// listing watches the requests for Connections, and how much memory this process has when a page is asked for, and when
// its bytes are there.
type listing struct {
	next http.RoundTripper

	mu sync.Mutex
	// streams are the answers to whoever asks for a stream in place of a list, limits the pages' of lists.
	streams []int
	limits  []string
	// last is whether the list has come to its end.
	last    bool
	largest uint64
}

func (l *listing) wrap(next http.RoundTripper) http.RoundTripper {
	l.next = next
	return l
}

// RoundTrip implements http.RoundTripper.
func (l *listing) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	if request.Method != http.MethodGet || !strings.HasSuffix(request.URL.Path, "/connections") {
		return l.next.RoundTrip(request)
	}
	isList := query.Get("watch") == ""
	if isList {
		l.look()
		l.note(func() { l.limits = append(l.limits, query.Get("limit")) })
	}
	response, err := l.next.RoundTrip(request)
	switch {
	case err != nil:
	case isList:
		response.Body = &page{ReadCloser: response.Body, listing: l}
	case query.Get("sendInitialEvents") != "":
		l.note(func() { l.streams = append(l.streams, response.StatusCode) })
	}
	return response, err
}

func (l *listing) note(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
}

// look takes the memory that is in use, without what nobody refers to any more.
func (l *listing) look() {
	used := inUse()
	l.note(func() { l.largest = max(l.largest, used) })
}

func inUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// page is the body of a list.
type page struct {
	io.ReadCloser
	listing *listing
	// last is whether it says that there are no more pages, and tail what may be the beginning of that.
	last bool
	tail []byte
}

// Read implements io.Reader.
func (p *page) Read(into []byte) (int, error) {
	const ends = `"continue":""`
	n, err := p.ReadCloser.Read(into)
	p.tail = append(p.tail, into[:n]...)
	p.last = p.last || bytes.Contains(p.tail, []byte(ends))
	p.tail = bytes.Clone(p.tail[max(0, len(p.tail)-len(ends)):])
	return n, err
}

// Close is called when all of it was read.
func (p *page) Close() error {
	p.listing.look()
	p.listing.note(func() { p.listing.last = p.last })
	return p.ReadCloser.Close()
}

var _ = Describe("The controllers' start, where the API server does not stream lists", func() {
	It("takes memory for 16 large objects at a time", func() {
		const number, size = 160, 240 << 10
		plane, err := env.StartControlPlane(ctx, func(flags *envtest.Arguments) {
			flags.Append("feature-gates", "WatchList=false")
		})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(plane.Stop()).To(Succeed()) })
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "full"}}
		Expect(plane.Client.Create(ctx, namespace)).To(Succeed())
		creating, creatingCtx := errgroup.WithContext(ctx)
		creating.SetLimit(8)
		text := strings.Repeat("x", size)
		for i := range number {
			connection := builder.Connection(namespace.Name, fmt.Sprintf("large-%d", i), map[string]any{"text": text})
			creating.Go(func() error { return plane.Client.Create(creatingCtx, connection) })
		}
		Expect(creating.Wait()).To(Succeed())

		seen := &listing{}
		before := inUse()
		replica, err := plane.StartController(ctx, "sallyport-controller-0", logr.Discard(), func(o *app.ControllerOptions) {
			o.Config.Wrap(seen.wrap)
		})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(replica.Stop()).To(Succeed()) })
		Eventually(func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return seen.last
		}, time.Minute).Should(BeTrue(), "the list comes to its end")
		seen.note(func() {
			Expect(seen.streams).To(ContainElement(BeNumerically(">=", 400)), "it does not stream")
			Expect(seen.streams).NotTo(ContainElement(http.StatusOK))
			Expect(seen.limits).To(HaveLen(number / 16))
			Expect(seen.limits).To(HaveEach("16"))
			grown := int64(seen.largest) - int64(before)
			Expect(grown).To(BeNumerically("<", 16<<20), "all together have %d MiB", number*size>>20)
			AddReportEntry("memory", fmt.Sprintf("%d KiB while %d Connections of %d KiB are listed", grown>>10, number, size>>10))
		})

		By("and finds all of them")
		Eventually(func(ctx context.Context) (ready int, _ error) {
			list := &v1alpha1.ConnectionList{}
			if err := plane.Client.List(ctx, list, client.InNamespace(namespace.Name)); err != nil {
				return 0, err
			}
			for i := range list.Items {
				if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
					ready++
				}
			}
			return ready, nil
		}).WithContext(ctx).WithPolling(time.Second).Should(Equal(number))
	})
})
