package heap_test

import (
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
	g.Expect(int64(all)).To(BeNumerically("<=", container.MemoryLimit()/100*heap.Percent))
}
