package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A private key for a user that is not root", Ordered, func() {
	const user = 65534 // nobody: OpenSSH wants a user that /etc/passwd knows

	var (
		t      *tenant
		public string
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		key, private, err := ed25519.GenerateKey(rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		block, err := ssh.MarshalPrivateKey(private, "")
		Expect(err).NotTo(HaveOccurred())
		text := string(pem.EncodeToMemory(block))
		canaries.forbid("a private key", text)
		of, err := ssh.NewPublicKey(key)
		Expect(err).NotTo(HaveOccurred())
		public = of.Type() + " " + base64.StdEncoding.EncodeToString(of.Marshal())
		t.put(ctx, "key", map[string]any{"id": text})
		connection := t.connection("key", map[string]any{"id": "vault.secret(id)"}, t.secretAt("key"))
		builder.WithFiles(
			v1alpha1.ConnectionFile{Path: "id", Value: "vault.secret(id)", Mode: new(int32(0o400))},
			v1alpha1.ConnectionFile{Path: "loose", Value: "vault.secret(id)", Mode: new(int32(0o440))},
			v1alpha1.ConnectionFile{Path: "host", Value: "git.example.com"},
		)(connection)
		create(ctx, connection)
		expectReady(ctx, connection)
	}, NodeTimeout(eventual))

	as := func(p *corev1.Pod, fsGroup *int64) *corev1.Pod {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(user)), RunAsGroup: new(int64(user)), FSGroup: fsGroup}
		return p
	}
	// owner is whose a file is, as the pod sees it, and its mode.
	type owner struct {
		user, group uint32
		mode        fs.FileMode
	}
	ownerOf := func(p *corev1.Pod, file string) owner {
		GinkgoHelper()
		info, err := os.Stat(inPod(p, filepath.Join(mountPath, file)))
		Expect(err).NotTo(HaveOccurred())
		stat := info.Sys().(*syscall.Stat_t)
		return owner{stat.Uid, stat.Gid, info.Mode()}
	}

	It("is taken by ssh, which wants a key that nobody else can read, with fsGroup and without", func(ctx SpecContext) {
		for _, group := range []*int64{nil, new(int64(4711))} {
			p := withNodePrograms(as(t.pod("key"), group))
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "users", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/passwd"}}})
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "users", MountPath: "/etc/passwd", ReadOnly: true})
			p.Spec.Containers[0].Command = []string{"/bin/sh", "-c", "/usr/bin/ssh-keygen -y -f " + mountPath + "/id; /usr/bin/ssh-keygen -y -f " + mountPath + "/loose 2>&1 | grep -c UNPROTECTED"}
			create(ctx, p)
			expectPhase(ctx, p, corev1.PodSucceeded)
			Expect(logOf(ctx, p)).To(HaveExactElements(public+"\n", "1\n"), "the second is one that it does not take")
			remove(ctx, p)
		}
	}, SpecTimeout(eventual))

	It("is its own, and what everybody may read is root's", func(ctx SpecContext) {
		p := as(t.pod("key"), nil)
		create(ctx, p)
		expectRuns(ctx, p, eventual)
		Expect(ownerOf(p, "id")).To(Equal(owner{user, 0, 0o400}))
		Expect(ownerOf(p, "host")).To(Equal(owner{0, 0, 0o644}))

		By("being replaced")
		t.put(ctx, "key", map[string]any{"id": newSecret("another key")})
		before, err := read(p, "id")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() (string, error) { return read(p, "id") }).WithTimeout(eventual).ShouldNot(Equal(before))
		Expect(ownerOf(p, "id")).To(Equal(owner{user, 0, 0o400}))
	}, SpecTimeout(2*eventual))

	It("is root's where the containers that mount it run as different users", func(ctx SpecContext) {
		p := as(t.pod("key"), nil)
		other := *p.Spec.Containers[0].DeepCopy()
		other.Name, other.SecurityContext = "other", &corev1.SecurityContext{RunAsUser: new(int64(user + 1))}
		p.Spec.Containers = append(p.Spec.Containers, other)
		create(ctx, p)
		expectRuns(ctx, p, eventual)
		Expect(ownerOf(p, "id")).To(Equal(owner{0, 0, 0o400}))
	}, SpecTimeout(eventual))
})
