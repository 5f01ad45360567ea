package server

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/status"
)

// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

const (
	// eventInterval is the minimum interval between two events of the same pod and reason.
	eventInterval = 30 * time.Minute
	// maxRecentEvents bounds the memory for that, maxRecentOfNamespace that for the pods of one namespace. Beyond it no
	// event is written, rather than all again and again.
	maxRecentEvents      = 10_000
	maxRecentOfNamespace = 1_000
)

// PodEvents writes events about pods whose mounted volumes cannot be refreshed until somebody changes something, in the
// sentence that the Connection's condition has, too. A volume that is mounted for the first time has the kubelet's own
// event. There is one for each pod and reason in eventInterval, and none for what goes away by itself: an outage of
// Vault must not cost a write for each pod.
type PodEvents struct {
	recorder events.EventRecorder
	clock    clock.PassiveClock

	mu sync.Mutex // from the look into recent to the entry
	// recent is when each was written.
	recent *shares.Cache[podReason, time.Time]
}

type podReason struct {
	uid    types.UID
	reason string
}

// NewPodEvents returns PodEvents that have written none yet.
func NewPodEvents(recorder events.EventRecorder, clk clock.PassiveClock) *PodEvents {
	return &PodEvents{recorder: recorder, clock: clk,
		recent: shares.NewCache[podReason, time.Time](maxRecentEvents, maxRecentOfNamespace)}
}

// refreshed writes an event about the pod if err says that a mounted volume was not refreshed, unless there was the
// same one lately. A request with a revision is for a volume that is mounted.
func (e *PodEvents) refreshed(authorization *Authorization, request *resolverv1.ResolveRequest, err error) {
	if err == nil || request.GetRevision() == "" {
		return
	}
	f := fault.From(err)
	if f.Class == fault.ClassTransient ||
		!e.due(authorization.Pod.Namespace, podReason{uid: authorization.PodUID, reason: f.Reason}) {
		return
	}
	e.recorder.Eventf(podOf(authorization), nil, corev1.EventTypeWarning, f.Reason, "Refresh", "%s",
		status.Note("the files of the volume stay as they are: "+f.Message()))
}

// servedFromMemory counts a volume that was made although Vault could not be reached, and writes an event about its
// pod: one in eventInterval, as for every other reason.
func (e *PodEvents) servedFromMemory(authorization *Authorization, served resolver.FromMemory) {
	servedInOutage.Inc()
	f := served.Fault
	if !e.due(authorization.Pod.Namespace, podReason{uid: authorization.PodUID, reason: "from memory: " + f.Reason}) {
		return
	}
	e.recorder.Eventf(podOf(authorization), nil, corev1.EventTypeWarning, f.Reason, "Mount", "%s",
		status.Note("the volume was made from what was read at "+served.Read.UTC().Format(time.RFC3339)+
			" (spec.outage.serveFor of the VaultConfig): "+f.Message()))
}

func podOf(authorization *Authorization) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: authorization.Pod.Namespace, Name: authorization.Pod.Name, UID: authorization.PodUID,
		},
	}
}

// due tells whether to write an event about a pod of the namespace, and that it is written.
func (e *PodEvents) due(namespace string, key podReason) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	if written, known := e.recent.Get(key); known && now.Sub(written) < eventInterval {
		return false
	}
	if !e.recent.Fits(namespace, 1) {
		e.recent.RemoveFunc(func(_ podReason, written time.Time) bool { return now.Sub(written) >= eventInterval })
		if !e.recent.Fits(namespace, 1) { // else one would give way that is still valid
			return false
		}
	}
	e.recent.Add(namespace, key, now, 1)
	return true
}
