// Package race keeps tests from measuring what the race detector takes.
package race

import "testing"

// SkipMeasurement skips a test that measures memory while the race detector watches, which takes memory of its own.
// hack/test.sh runs such tests a second time without it.
func SkipMeasurement(t *testing.T) {
	t.Helper()
	if enabled {
		t.Skip("the race detector takes memory of its own; hack/test.sh runs this a second time without it")
	}
}
