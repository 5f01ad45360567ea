package restart

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func sample() *v1alpha1.Connection {
	written := metav1.NewTime(time.Unix(1_800_000_000, 0))
	return builder.Connection("shop", "db", nil, func(c *v1alpha1.Connection) {
		c.UID, c.Generation, c.ResourceVersion = "uid", 3, "7"
		c.Labels = map[string]string{"a": "b"}
		c.Status = v1alpha1.ConnectionStatus{
			ObservedGeneration: 3,
			Conditions:         []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}},
			Secrets: []v1alpha1.ObservedSecret{{VaultConfig: "shop/main", Path: "secret/data/db", Version: 5,
				CreatedTime: &written}},
		}
	})
}

func TestDigestFollowsWhatAConnectionSaysAndVersionsAlone(t *testing.T) {
	long := metav1.NewTime(time.Unix(1, 0))
	for name, row := range map[string]struct {
		change func(*v1alpha1.Connection)
		moves  bool
	}{
		"another value":          {func(c *v1alpha1.Connection) { c.Spec.Value = builder.JSON(map[string]any{"a": "b"}) }, true},
		"another type":           {func(c *v1alpha1.Connection) { c.Spec.Type = "other" }, true},
		"a new generation alone": {func(c *v1alpha1.Connection) { c.Generation++ }, false},
		"another interval": {func(c *v1alpha1.Connection) {
			c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour}
		}, false},
		"other service accounts":   {func(c *v1alpha1.Connection) { c.Spec.AllowedServiceAccounts = []string{"x"} }, false},
		"another object":           {func(c *v1alpha1.Connection) { c.UID = "other" }, true},
		"a new version":            {func(c *v1alpha1.Connection) { c.Status.Secrets[0].Version++ }, true},
		"a secret made anew":       {func(c *v1alpha1.Connection) { c.Status.Secrets[0].CreatedTime = &long }, true},
		"another secret":           {func(c *v1alpha1.Connection) { c.Status.Secrets[0].Path += "2" }, true},
		"a secret that is gone":    {func(c *v1alpha1.Connection) { c.Status.Secrets = nil }, true},
		"a label":                  {func(c *v1alpha1.Connection) { c.Labels = nil; c.ResourceVersion = "8" }, false},
		"another condition":        {func(c *v1alpha1.Connection) { c.Status.Conditions = nil }, false},
		"the same, read once more": {func(*v1alpha1.Connection) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := sample()
			row.change(changed)
			if row.moves {
				NewWithT(t).Expect(digest(changed)).NotTo(Equal(digest(sample())))
			} else {
				NewWithT(t).Expect(digest(changed)).To(Equal(digest(sample())))
			}
		})
	}
}

func TestOnlySecretsThatTellNoChangeAreUnversioned(t *testing.T) {
	g := NewWithT(t)
	rotated := metav1.NewTime(time.Unix(1_800_000_000, 0))
	c := sample()
	c.Status.Secrets = []v1alpha1.ObservedSecret{
		{Path: "secret/data/db", Version: 5}, {Path: "kv1/db"}, {Path: "database/static-creds/app", CreatedTime: &rotated},
	}
	g.Expect(unversioned(c)).To(Equal([]string{"kv1/db"}))
}

func TestSeenIsReadAsItIsWritten(t *testing.T) {
	g := NewWithT(t)
	s := seen{"b.c": "2.2", "a": "2.1"}
	g.Expect(s.String()).To(Equal("a=2.1,b.c=2.2"))
	g.Expect(parseSeen(s.String())).To(Equal(s))
	g.Expect(parseSeen("")).To(BeEmpty())
	g.Expect(parseSeen("nonsense,,=,a=2.1")).To(HaveKeyWithValue("a", "2.1"))
	g.Expect(parseSeen("a=1")).To(BeEmpty(), "of a former form of digests, which would differ now")
	g.Expect(seen{}.String()).To(BeEmpty())
}

func TestOnlyWhatWasSeenBeforeCanChange(t *testing.T) {
	g := NewWithT(t)
	before := seen{"a": "1", "b": "1", "gone": "1"}
	g.Expect(seen{"a": "1", "b": "2", "new": "1"}.changedSince(before)).To(Equal([]string{"b"}))
	g.Expect(seen{"a": "2"}.changedSince(seen{})).To(BeEmpty(), "the first look rolls nothing")
}

func TestMountedConnectionsAreThoseOfOurDriver(t *testing.T) {
	csi := func(driver, connection string) corev1.Volume {
		return corev1.Volume{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: driver, VolumeAttributes: map[string]string{"connection": connection},
		}}}
	}
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{}, csi(v1alpha1.DriverName, "z"), csi("other", "x"), csi(v1alpha1.DriverName, "a"),
		csi(v1alpha1.DriverName, "z"),
	}}}
	g := NewWithT(t)
	g.Expect(mounted(template)).To(Equal([]string{"a", "z"}))
	template.Annotations = map[string]string{v1alpha1.AnnotationEnv: "z,B_=b"}
	g.Expect(mounted(template)).To(Equal([]string{"a", "b", "z"}), "admission mounts what the annotation names")
}

func TestCurrentAndReadyNeedsAStatusOfThisSpec(t *testing.T) {
	g := NewWithT(t)
	g.Expect(currentAndReady(sample())).To(BeTrue())
	stale := sample()
	stale.Generation++
	g.Expect(currentAndReady(stale)).To(BeFalse())
	down := sample()
	down.Status.Conditions[0].Status = metav1.ConditionFalse
	g.Expect(currentAndReady(down)).To(BeFalse())
}
