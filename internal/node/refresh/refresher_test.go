package refresh

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

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
