package connection

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/test/builder"
)

func mountedBy(volumes *int32) *v1alpha1.Connection {
	return builder.Connection("shop", "db", nil, func(c *v1alpha1.Connection) {
		c.Status.Mounts = &v1alpha1.ConnectionMounts{Volumes: volumes}
	})
}

func TestAConnectionThatNobodyMountsIsLookedAtLessOften(t *testing.T) {
	resolved := &resolver.Resolved{RefreshAfter: time.Minute}
	for connection, expected := range map[*v1alpha1.Connection]time.Duration{
		{}:                       4 * time.Minute,
		mountedBy(nil):           4 * time.Minute,
		mountedBy(new(int32(0))): 4 * time.Minute,
		mountedBy(new(int32(1))): time.Minute,
	} {
		NewWithT(t).Expect(next(connection, resolved)).To(Equal(expected))
	}
}

func TestTheFirstMountWakesAConnection(t *testing.T) {
	none, zero, one, two := &v1alpha1.Connection{}, mountedBy(new(int32(0))), mountedBy(new(int32(1))),
		mountedBy(new(int32(2)))
	for _, test := range []struct {
		before, after *v1alpha1.Connection
		wakes         bool
	}{{none, one, true}, {zero, two, true}, {one, two, false}, {two, one, false}, {one, zero, false},
		{none, zero, false}} {
		NewWithT(t).Expect(firstMounted.Update(event.UpdateEvent{ObjectOld: test.before, ObjectNew: test.after})).
			To(Equal(test.wakes))
	}
}
