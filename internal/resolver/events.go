package resolver

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/status"
)

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

const (
	// eventQuiet is how long the same reason is not told of a pod again.
	eventQuiet = 30 * time.Minute
	// eventsRemembered bounds the memory for that. Beyond it nothing is told, rather than everything again and again.
	eventsRemembered = 10_000
)

// PodEvents tell of pods whose mounted volumes cannot be refreshed until somebody changes something, in the sentence that the Connection's
// condition has, too. A volume that is mounted for the first time has the kubelet's own event. One for each pod and reason in eventQuiet,
// and none for what goes away by itself: an outage of Vault must not cost a write for each pod.
type PodEvents struct {
	recorder events.EventRecorder
	clock    clock.PassiveClock

	mu   sync.Mutex
	told map[podReason]time.Time
}

type podReason struct {
	uid    types.UID
	reason string
}

// NewPodEvents returns PodEvents that have told nothing yet.
func NewPodEvents(recorder events.EventRecorder, clk clock.PassiveClock) *PodEvents {
	return &PodEvents{recorder: recorder, clock: clk, told: map[podReason]time.Time{}}
}

// refreshed writes an event about the pod if err says that a mounted volume was not refreshed, unless the same was told lately. A request
// with a revision is for a volume that is mounted.
func (e *PodEvents) refreshed(grant *Grant, request *resolverv1.ResolveRequest, err error) {
	if err == nil || request.GetRevision() == "" {
		return
	}
	f := fault.From(err)
	if f.Class == fault.ClassTransient || !e.due(podReason{uid: grant.PodUID, reason: f.Reason}) {
		return
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: grant.Pod.Namespace, Name: grant.Pod.Name, UID: grant.PodUID},
	}
	e.recorder.Eventf(pod, nil, corev1.EventTypeWarning, f.Reason, "Refresh", "%s",
		status.Note("the files of the volume stay as they are: "+f.Message()))
}

func (e *PodEvents) due(key podReason) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	if last, known := e.told[key]; known && now.Sub(last) < eventQuiet {
		return false
	}
	if len(e.told) >= eventsRemembered {
		for old, last := range e.told {
			if now.Sub(last) >= eventQuiet {
				delete(e.told, old)
			}
		}
		if len(e.told) >= eventsRemembered {
			return false
		}
	}
	e.told[key] = now
	return true
}
