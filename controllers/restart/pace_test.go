package restart

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// house is a namespace with a Connection that a Deployment mounts, and who leads there.
type house struct {
	*WithT
	ctx    context.Context //nolint:containedctx // of the test
	client client.Client
	clock  *clocktesting.FakePassiveClock
	events *events.FakeRecorder
	leader *Reconciler
	// lost: the answer to a write gets lost.
	lost bool
}

func newHouse(t *testing.T, objects ...client.Object) *house {
	t.Helper()
	h := &house{WithT: NewWithT(t), ctx: t.Context(), clock: clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))}
	scheme := runtime.NewScheme()
	h.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	h.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	h.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := c.Patch(ctx, o, patch, options...); err != nil || !h.lost {
				return err
			}
			return errors.New("lost")
		},
	}).Build()
	h.elect()
	return h
}

// elect has another replica lead, which knows nothing.
func (h *house) elect() {
	h.events = events.NewFakeRecorder(99)
	h.leader = NewReconcilers(h.client, h.client, h.client, h.events, h.clock)[0]
}

func deployment(annotations map[string]string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Annotations: annotations},
		Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{volumeOf("db")}}}},
	}
}

func volumeOf(connection string) corev1.Volume {
	return corev1.Volume{Name: connection, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: v1alpha1.DriverName, VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: connection},
	}}}
}

// look has the Deployment reconciled, and returns it and what Reconcile says.
func (h *house) look() (*appsv1.Deployment, time.Duration) {
	found := deployment(nil)
	result, err := h.leader.Reconcile(h.ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(found)})
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(h.client.Get(h.ctx, client.ObjectKeyFromObject(found), found)).To(Succeed())
	return found, result.RequeueAfter
}

// rolledFor is what the pods were rolled for last.
func rolledFor(d *appsv1.Deployment) string {
	return d.Spec.Template.Annotations[v1alpha1.AnnotationRestartedFor]
}

// write gives the Connection's secret another version.
func (h *house) write(version int64) {
	c := sample()
	h.Expect(h.client.Get(h.ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
	c.Status.Secrets[0].Version = version
	h.Expect(h.client.Update(h.ctx, c)).To(Succeed())
}

func asking(more ...string) map[string]string {
	annotations := map[string]string{v1alpha1.AnnotationRestartOnChange: "true"}
	for i := 0; i < len(more); i += 2 {
		annotations[more[i]] = more[i+1]
	}
	return annotations
}

func connection() *v1alpha1.Connection {
	c := sample()
	c.ResourceVersion = ""
	return c
}

func shop(labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels}}
}

func TestABurstOfChangesIsOneRestartAtTheEndOfTheInterval(t *testing.T) {
	h := newHouse(t, shop(nil), connection(), deployment(asking(v1alpha1.AnnotationRestartMinInterval, "10m")))
	begin, _ := h.look()
	h.Expect(begin.Annotations).To(HaveKey(v1alpha1.AnnotationSeen))
	h.Expect(begin.Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestartedAt))

	h.write(6)
	first, wait := h.look()
	h.Expect(wait).To(BeZero())
	h.Expect(rolledFor(first)).NotTo(BeEmpty(), "there is no restart to keep away from")
	h.Expect(first.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRestartedAt, "2027-01-15T08:00:00Z"))
	h.Expect(h.events.Events).To(Receive(ContainSubstring(v1alpha1.ReasonRestarted)))

	for version := range int64(4) {
		h.clock.SetTime(h.clock.Now().Add(time.Minute))
		h.write(7 + version)
		held, left := h.look()
		h.Expect(left).To(Equal(time.Duration(9-version) * time.Minute))
		h.Expect(held.ResourceVersion).To(Equal(first.ResourceVersion), "nothing is written while it waits")
	}
	h.Expect(h.events.Events).To(HaveLen(1), "said once")
	h.Expect(<-h.events.Events).To(And(ContainSubstring(v1alpha1.ReasonRestartPending), ContainSubstring("at 2027-01-15T08:10:00Z")))

	h.elect()
	_, wait = h.look()
	h.Expect(wait).To(Equal(6*time.Minute), "another replica knows as much")
	h.clock.SetTime(h.clock.Now().Add(wait))
	last, wait := h.look()
	h.Expect(wait).To(BeZero())
	h.Expect(rolledFor(last)).To(And(Equal(last.Annotations[v1alpha1.AnnotationSeen]), Not(Equal(rolledFor(first)))))
	h.clock.SetTime(h.clock.Now().Add(time.Hour))
	after, _ := h.look()
	h.Expect(after.ResourceVersion).To(Equal(last.ResourceVersion), "nothing is left to do")
}

func TestAConnectionThatIsNewWhileARestartWaitsIsNoted(t *testing.T) {
	h := newHouse(t, shop(nil), connection(), deployment(asking()))
	h.look()
	h.write(6)
	h.look()
	h.write(7)
	second := connection()
	second.Name = "queue"
	h.Expect(h.client.Create(h.ctx, second)).To(Succeed())
	d := deployment(nil)
	h.Expect(h.client.Get(h.ctx, client.ObjectKeyFromObject(d), d)).To(Succeed())
	d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, volumeOf("queue"))
	h.Expect(h.client.Update(h.ctx, d)).To(Succeed())

	d, wait := h.look()
	h.Expect(wait).To(Equal(defaultMinInterval))
	now := parseSeen(d.Annotations[v1alpha1.AnnotationSeen])
	h.Expect(now).To(HaveKey("queue"))
	h.Expect(now).To(HaveKeyWithValue("db", parseSeen(rolledFor(d))["db"]), "what the pods were rolled for")
}

func TestTheIntervalIsTheWorkloads(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, row := range map[string]struct {
		interval, restarted string
		left                time.Duration
	}{
		"none given":              {"", now.Add(-20 * time.Second).UTC().Format(time.RFC3339), 40 * time.Second},
		"never restarted":         {"10m", "", 0},
		"long ago":                {"10m", now.Add(-time.Hour).Format(time.RFC3339), 0},
		"just over":               {"10m", now.Add(-10 * time.Minute).Format(time.RFC3339), 0},
		"not yet":                 {"1h30m", now.Add(-time.Hour).Format(time.RFC3339), 30 * time.Minute},
		"no interval":             {"0s", now.Format(time.RFC3339), 0},
		"no duration":             {"soon", now.Format(time.RFC3339), time.Minute},
		"a negative one":          {"-5m", now.Format(time.RFC3339), time.Minute},
		"restarted in the future": {"10m", now.Add(time.Hour).Format(time.RFC3339), 0},
		"restarted at no time":    {"10m", "yesterday", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := deployment(map[string]string{v1alpha1.AnnotationRestartedAt: row.restarted})
			if row.interval != "" {
				d.Annotations[v1alpha1.AnnotationRestartMinInterval] = row.interval
			}
			interval, valid := minInterval(d)
			g.Expect(valid).To(Equal(row.interval != "soon" && row.interval != "-5m"))
			g.Expect(intervalLeft(d, interval, now)).To(Equal(row.left))
		})
	}
}

func TestANamespaceSpeaksForWorkloadsThatSayNothing(t *testing.T) {
	for name, row := range map[string]struct {
		label, annotation string
		asks              bool
	}{
		"nobody says anything":           {"", "", false},
		"the namespace":                  {"true", "", true},
		"the namespace, not so":          {"yes", "", false},
		"the workload":                   {"", "true", true},
		"the workload against it":        {"true", "false", false},
		"the workload for it, alone":     {"false", "true", true},
		"the workload with another word": {"true", "no", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, namespace := deployment(nil), shop(nil)
			if row.label != "" {
				namespace.Labels = map[string]string{v1alpha1.LabelRestartOnChange: row.label}
			}
			if row.annotation != "" {
				d.Annotations = map[string]string{v1alpha1.AnnotationRestartOnChange: row.annotation}
			}
			h := newHouse(t, namespace, connection(), d)
			d, _ = h.look()
			if row.asks {
				h.Expect(d.Annotations).To(HaveKey(v1alpha1.AnnotationSeen))
			} else {
				h.Expect(d.Annotations).NotTo(HaveKey(v1alpha1.AnnotationSeen))
			}
		})
	}
}
