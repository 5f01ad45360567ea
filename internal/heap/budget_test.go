package heap_test

import (
	"math"
	"runtime/debug"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/test/env"
)

func TestAllTogetherFitTheShippedLimit(t *testing.T) {
	g := NewWithT(t)
	container, err := env.ShippedContainer("controller/deployment.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	all := heap.Base + heap.Decoding + heap.Kept + heap.Work + heap.Making + heap.Tasks + heap.Reading + heap.Fetching +
		heap.Burst + heap.Outage + heap.Specs + heap.Tracked + heap.Versions + heap.Engines + heap.SecretIDs
	g.Expect(container.MemoryLimit()).To(BeEquivalentTo(heap.ShippedLimit))
	g.Expect(int64(all)).To(BeNumerically("<=", heap.ShippedLimit/100*heap.Percent))
}

func TestALargerContainerRemembersMore(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, row := range []struct {
		name              string
		limit, all, share int64
	}{
		{"no limit", math.MaxInt64, heap.Versions, heap.VersionsShare},
		{"a smaller one", 100 << 20, heap.Versions, heap.VersionsShare},
		{"the shipped one", heap.ShippedLimit / 100 * heap.Percent, heap.Versions, heap.VersionsShare},
		{"a larger one", heap.ShippedLimit/100*heap.Percent + 64<<20, heap.Versions + 8<<20, heap.VersionsShare + 2<<20},
	} {
		t.Run(row.name, func(t *testing.T) {
			debug.SetMemoryLimit(row.limit)
			all, share := heap.Growing(heap.Versions, heap.VersionsShare)
			NewWithT(t).Expect([]int64{all, share}).To(Equal([]int64{row.all, row.share}))
		})
	}
}
