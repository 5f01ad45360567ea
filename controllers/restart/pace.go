package restart

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/status"
)

// defaultMinInterval keeps a Connection that somebody edits step by step, or secrets that are written one after the
// other, from rolling the same pods for each of them, and lets a mistake be corrected soon.
const defaultMinInterval = time.Minute

// pace returns how long the workload's next restart has to wait, and says so once: for its own interval first, then for
// the others of its namespace.
func (r *Reconciler) pace(
	ctx context.Context, workload, namespace client.Object, changed []string,
) (time.Duration, error) {
	now := r.clock.Now()
	interval, valid := minInterval(workload)
	if wait := intervalLeft(workload, interval, now); wait > 0 {
		at := now.Add(wait).UTC().Format(time.RFC3339)
		why := fmt.Sprintf("at %s, because the least time between two restarts is %s (%s)", at, interval, v1alpha1.AnnotationRestartMinInterval)
		if !valid {
			why += ", whose value is no duration such as 10m, so that the default holds"
		}
		r.tell(workload, at, changed, why)
		return wait, nil
	}
	limit := limitOf(namespace)
	may, others, err := r.batches.turn(ctx, workload.GetNamespace(), r.member(workload.GetName()), limit)
	if may || err != nil {
		return 0, err
	}
	r.tell(workload, "turn", changed, fmt.Sprintf("after others of the namespace, of which %d may roll at a time (its label %s): %s",
		limit, v1alpha1.LabelRestartMaxUnavailable, strings.Join(others, ", ")))
	return turnInterval, nil
}

// tell says in an event why a restart waits, once for each cause.
func (r *Reconciler) tell(workload client.Object, cause string, changed []string, why string) {
	if last, told := r.told.Swap(client.ObjectKeyFromObject(workload), cause); told && last == cause {
		return
	}
	r.recorder.Eventf(workload, nil, corev1.EventTypeNormal, v1alpha1.ReasonRestartPending, "Restart", "%s", status.Note(
		fmt.Sprintf("a Connection that its pods mount changed (%s); they are rolled %s", strings.Join(changed, ", "), why)))
}

// minInterval returns the least time between two restarts of a workload; false if what the workload says is not valid.
func minInterval(workload metav1.Object) (interval time.Duration, valid bool) {
	text, given := workload.GetAnnotations()[v1alpha1.AnnotationRestartMinInterval]
	if !given {
		return defaultMinInterval, true
	}
	interval, err := time.ParseDuration(text)
	if err != nil || interval < 0 {
		return defaultMinInterval, false
	}
	return interval, true
}

// intervalLeft returns how much of the interval since the last restart is left. A time in the future, which only
// another clock or another writer can have noted, holds nothing up.
func intervalLeft(workload metav1.Object, interval time.Duration, now time.Time) time.Duration {
	last, err := time.Parse(time.RFC3339, workload.GetAnnotations()[v1alpha1.AnnotationRestartedAt])
	if err != nil || last.After(now) {
		return 0
	}
	return max(0, last.Add(interval).Sub(now))
}
