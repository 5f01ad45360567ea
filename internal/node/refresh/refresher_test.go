package refresh

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

func TestRefreshDelay(t *testing.T) {
	for _, test := range []struct {
		name         string
		milliseconds int64
		delay        time.Duration
	}{
		{"as the resolver says", 90_000, 90 * time.Second},
		{"none said", 0, delayDefault},
		{"nonsense", -5, delayDefault},
		{"hardly any", 3, delayMin},
		{"more than a duration holds", 1 << 62, delayMax},
	} {
		t.Run(test.name, func(t *testing.T) {
			NewWithT(t).Expect(delay(&resolverv1.ResolveResponse{RefreshAfterMs: test.milliseconds})).To(Equal(test.delay))
		})
	}
}

func TestANodeAsksItsOffsetLater(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakeClock(time.Unix(1_800_000_000, 0))
	r := New(Config{Clock: clk, Offset: 700 * time.Millisecond})
	for range 2 {
		v := volume.New("v", "", volume.PodToken{}, nil)
		r.Next(v, &resolverv1.ResolveResponse{RefreshAfterMs: 5_000})
		g.Expect(v.UntilDue(clk.Now())).To(Equal(5700*time.Millisecond), "always as much")
	}
}
