//go:build linux

package sanity

import (
	"regexp"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
)

// skipped is every part of csi-sanity that does not run, with the reason. A test that is skipped and not in this list
// fails the suite, and so does an entry that skips nothing.
var skipped = []struct {
	tests  *regexp.Regexp
	reason string
	// here means that this suite skips the tests; the others csi-sanity skips itself, by the driver's capabilities.
	here bool
}{
	{
		tests:  regexp.MustCompile(`\[Controller Server\]|\[GroupController `),
		reason: "the driver has no controller service, and these would test the one that this suite makes up",
		here:   true,
	},
	{
		tests:  regexp.MustCompile(`^Node Service Node(Uns|S)tageVolume `),
		reason: "no STAGE_UNSTAGE_VOLUME: an inline volume belongs to one pod, so nothing is shared between publishes",
	},
	{
		tests:  regexp.MustCompile(`^Node Service NodeGetVolumeStats `),
		reason: "no GET_VOLUME_STATS: the pod cannot write, so there is no use of storage to report",
	},
	{
		tests:  regexp.MustCompile(`^Node Service NodeExpandVolume `),
		reason: "no EXPAND_VOLUME: the cap on a volume is fixed",
	},
	{
		tests:  regexp.MustCompile(`^Node Service NodeGet(Volume|Storage)Health `),
		reason: "no GET_VOLUME_HEALTH, no GET_STORAGE_HEALTH: what a refresh fails for is in events and metrics",
	},
	{
		tests:  regexp.MustCompile(`^Node Service NodePublishVolume with single node multi writer capability `),
		reason: "no SINGLE_NODE_MULTI_WRITER: nobody writes",
	},
}

// notOurs returns the tests that Ginkgo must skip.
func notOurs() []string {
	var patterns []string
	for _, entry := range skipped {
		if entry.here {
			patterns = append(patterns, entry.tests.String())
		}
	}
	return patterns
}

func checkSkipped(report Report) {
	used := make([]bool, len(skipped))
	for _, spec := range report.SpecReports {
		if !spec.State.Is(types.SpecStateSkipped) {
			continue
		}
		listed := false
		for i, entry := range skipped {
			if entry.tests.MatchString(spec.FullText()) {
				listed, used[i] = true, true
			}
		}
		Expect(listed).To(BeTrue(), "%q is skipped, and no reason is given for it", spec.FullText())
	}
	for i, entry := range skipped {
		Expect(used[i]).To(BeTrue(), "%s skips nothing", entry.tests)
	}
}
