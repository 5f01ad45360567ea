package node

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

func TestPublishShowsTheFilesAndUnpublishLeavesNothing(t *testing.T) {
	m := newMachine(t)

	m.g.Expect(m.publish()).To(Succeed())

	m.g.Expect(m.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": secretContent}))
	m.g.Expect(m.resolver.last().GetPodToken()).To(Equal(secretToken))
	m.g.Expect(m.resolver.last().GetVolumeAttributes()).To(Equal(map[string]string{v1alpha1.AttributeConnection: "db"}),
		"what the kubelet added must not be sent")
	m.g.Expect(m.resolver.last().GetRevision()).To(BeEmpty(), "a first mount always reads")
	m.g.Expect(m.metric("sallyport_node_volumes")).To(BeEquivalentTo(1))
	m.g.Expect(m.metric("sallyport_node_publishes_total", v1alpha1.ReasonSucceeded)).To(BeEquivalentTo(1))
	m.g.Expect(m.metric("sallyport_node_publish_duration_seconds")).To(BeEquivalentTo(1))
	m.g.Expect(m.metric("sallyport_node_memory_used_bytes")).To(BeEquivalentTo(3 * os.Getpagesize()))

	m.g.Expect(m.unpublish()).To(Succeed())
	m.expectNothingLeft()
	m.g.Expect(m.unpublish()).To(Succeed(), "unpublish must be idempotent")
}

func TestFilesHaveTheLayoutOfSecrets(t *testing.T) {
	for _, test := range []struct {
		name  string
		group string
		mode  os.FileMode
		gid   uint32
	}{
		{name: "readable by everybody in the pod", mode: 0o644, gid: uint32(os.Getgid())},
		{name: "readable by the pod's fsGroup", group: "4711", mode: 0o440, gid: 4711},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.group != "" && os.Getuid() != 0 {
				t.Skip("only root may give a file to another group")
			}
			m := newMachine(t)
			m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.GetMount().VolumeMountGroup = test.group
			})).To(Succeed())

			link, err := os.Readlink(filepath.Join(m.target(), "password"))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(link).To(Equal("..data/password"))
			dir, err := os.Readlink(filepath.Join(m.target(), "..data"))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(dir).To(HavePrefix("..2026_01_02_03_04_05."))
			info, err := os.Stat(filepath.Join(m.target(), "password"))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(info.Mode()).To(Equal(test.mode))
			m.g.Expect(info.Sys().(*syscall.Stat_t).Gid).To(Equal(test.gid))
			info, err = os.Stat(filepath.Join(m.target(), dir))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o755))
		})
	}
}

func TestFilesHaveTheModesOfTheirAuthor(t *testing.T) {
	for _, test := range []struct {
		name, group string
		modes       map[string]os.FileMode
	}{
		{"without a group", "", map[string]os.FileMode{"plain": 0o644, "key": 0o400, "script": 0o755}},
		{"with the pod's fsGroup", "4711", map[string]os.FileMode{"plain": 0o440, "key": 0o400, "script": 0o755}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.group != "" && os.Getuid() != 0 {
				t.Skip("only root may give a file to another group")
			}
			m := newMachine(t)
			answer := &resolverv1.ResolveResponse{Revision: "1", RefreshAfterMs: 1000, Files: []*resolverv1.File{
				{Path: "plain", Content: []byte("p")}, {Path: "key", Content: []byte("k"), Mode: 0o400}, {Path: "script", Content: []byte("s"), Mode: 0o755},
			}}
			m.resolver.raw = answer
			m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.GetMount().VolumeMountGroup = test.group
			})).To(Succeed())
			for path, mode := range test.modes {
				info, err := os.Stat(filepath.Join(m.target(), path))
				m.g.Expect(err).NotTo(HaveOccurred())
				m.g.Expect(info.Mode()).To(Equal(mode), path)
				if test.group != "" {
					m.g.Expect(info.Sys().(*syscall.Stat_t).Gid).To(BeEquivalentTo(4711), path)
				}
			}
			kept, err := os.Stat(filepath.Join(m.target(), "plain"))
			m.g.Expect(err).NotTo(HaveOccurred())

			m.resolver.mu.Lock()
			m.resolver.raw = &resolverv1.ResolveResponse{Revision: "2", RefreshAfterMs: 1000, Files: []*resolverv1.File{
				answer.Files[0], {Path: "key", Content: []byte("k"), Mode: 0o444}, answer.Files[2],
			}}
			m.resolver.mu.Unlock()
			m.passTime(func(g Gomega) {
				info, failure := os.Stat(filepath.Join(m.target(), "key"))
				g.Expect(failure).NotTo(HaveOccurred())
				g.Expect(info.Mode()).To(BeEquivalentTo(0o444), "a changed mode is a change, although the content is the same")
			})
			same, err := os.Stat(filepath.Join(m.target(), "plain"))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(os.SameFile(kept, same)).To(BeTrue())
		})
	}
}

func TestFailedPublishSaysWhyAndLeavesNothing(t *testing.T) {
	sentence := `Connection shop/db, key "password": GET secret/data/db → 403 permission denied`
	for _, test := range []struct {
		name   string
		answer *resolverv1.ResolveResponse
		err    error
		code   codes.Code
		says   string
	}{
		{name: "the policy forbids it", err: fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s", sentence), code: codes.PermissionDenied, says: sentence},
		{name: "there is no such Connection", err: fault.Waiting(v1alpha1.ReasonConnectionNotFound, "gone"), code: codes.NotFound, says: "gone"},
		{name: "the VaultConfig is disabled", err: fault.Waiting(v1alpha1.ReasonConfigDisabled, "off"), code: codes.FailedPrecondition, says: "off"},
		{name: "the pod overrides an unknown key", err: fault.Terminal(v1alpha1.ReasonUnknownOverride, "no such key"), code: codes.InvalidArgument, says: "no such key"},
		{name: "no resolver answers", err: fault.Transient(v1alpha1.ReasonNoResolver, "nobody"), code: codes.Unavailable, says: "nobody"},
		{name: "the content is too large", err: fault.Terminal(v1alpha1.ReasonTooLarge, "too large"), code: codes.ResourceExhausted, says: "too large"},
		{name: "Sallyport is broken", err: fault.Transient(v1alpha1.ReasonInternal, "oops"), code: codes.Internal, says: "oops"},
		{name: "the resolver sends no files", answer: &resolverv1.ResolveResponse{}, code: codes.Internal, says: "without a single file"},
		{name: "the resolver calls a first mount unchanged", answer: &resolverv1.ResolveResponse{Unchanged: true}, code: codes.Internal, says: "without a single file"},
		{name: "a file would lie outside", answer: response("../../etc/passwd"), code: codes.FailedPrecondition, says: `"../../etc/passwd" cannot be the name`},
		{name: "a file would hide the layout", answer: response("..data"), code: codes.FailedPrecondition, says: `"..data" cannot be the name`},
		{name: "a file comes twice", answer: response("a", "a"), code: codes.FailedPrecondition, says: `"a" cannot be the name`},
		{name: "a file would run as its owner", answer: &resolverv1.ResolveResponse{Files: []*resolverv1.File{{Path: "a", Mode: 0o4755}}},
			code: codes.FailedPrecondition, says: `"a" cannot have mode 04755`},
		{name: "too many files", answer: &resolverv1.ResolveResponse{Files: make([]*resolverv1.File, resolverv1.MaxFiles+1)}, code: codes.ResourceExhausted, says: "513 files"},
		{name: "too many bytes", answer: &resolverv1.ResolveResponse{Files: []*resolverv1.File{{Path: "a", Content: make([]byte, resolverv1.MaxContentBytes+1)}}},
			code: codes.ResourceExhausted, says: "1048577 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.resolver.failure, m.resolver.raw = test.err, test.answer
			m.steps.arm(0, 0)

			err := m.publish()

			m.g.Expect(status.Code(err)).To(Equal(test.code), "%v", err)
			m.g.Expect(err.Error()).To(ContainSubstring(test.says))
			m.expectNothingLeft()
			m.g.Expect(m.steps.log).NotTo(ContainElement(HavePrefix("tmpfs")), "nothing may be mounted before there is something to show")
			m.g.Expect(m.logs.String()).To(ContainSubstring(messageCallFailed))
			m.g.Expect(m.logs.String()).To(ContainSubstring(`"pod"="shop/shop-0"`))
		})
	}
}

func response(paths ...string) *resolverv1.ResolveResponse {
	r := &resolverv1.ResolveResponse{}
	for _, path := range paths {
		r.Files = append(r.Files, &resolverv1.File{Path: path, Content: []byte("x")})
	}
	return r
}

func TestRepublishAnswersAtOnceWhateverTheResolver(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	before := m.files()
	m.resolver.fail(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	taken, asked := m.steps.taken(), m.resolver.questions()

	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = m.tokens("next") })).To(Succeed())
	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets = nil })).To(Succeed(), "without a token the files stay")

	m.g.Expect(m.files()).To(Equal(before))
	m.g.Expect(m.steps.taken()).To(Equal(taken), "a republish must not touch the volume")
	m.g.Expect(m.resolver.questions()).To(Equal(asked))
	_, token := m.driver.volumes.Get(volumeID).Snapshot()
	m.g.Expect(token.Value).To(Equal("next"))
}

func TestRepublishDoesNotWaitForARefresh(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	release := m.resolver.hold()
	defer release()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(Equal(2)) })

	m.g.Expect(m.publish()).To(Succeed())
}

func TestRepublishMountsAgainWhatSomebodyUnmounted(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.mounter.Unmount(m.target(), false)).To(Succeed())
	m.resolver.fail(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))

	m.g.Expect(m.publish()).To(Succeed())

	m.g.Expect(m.files()).To(HaveKeyWithValue("password", secretContent))
}

func TestOneVolumeHasOneTarget(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())

	err := m.publish(func(r *csi.NodePublishVolumeRequest) { r.TargetPath += "2" })

	m.g.Expect(status.Code(err)).To(Equal(codes.FailedPrecondition))
	m.g.Expect(m.files()).NotTo(BeEmpty())
}

func TestConcurrentPublishResolvesOnce(t *testing.T) {
	m := newMachine(t)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if err := m.publish(); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	m.g.Expect(m.resolver.questions()).To(Equal(1))
	m.g.Expect(m.files()).To(HaveLen(2))
}

func TestUnpublishWaitsForThePublishUnderWay(t *testing.T) {
	m := newMachine(t)
	release := m.resolver.hold()
	published := make(chan error, 1)
	go func() { published <- m.publish() }()
	m.g.Eventually(m.resolver.questions).Should(Equal(1))
	unpublished := make(chan error, 1)
	go func() { unpublished <- m.unpublish() }()
	m.g.Consistently(unpublished, "100ms").ShouldNot(Receive())

	release()

	m.g.Expect(<-published).To(Succeed())
	m.g.Expect(<-unpublished).To(Succeed())
	m.expectNothingLeft()
}

func TestNodeThatIsFullRefuses(t *testing.T) {
	m := newMachine(t, func(m *machine) { m.budget = 4 * int64(os.Getpagesize()) })
	m.g.Expect(m.publish()).To(Succeed())

	err := m.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" })

	m.g.Expect(status.Code(err)).To(Equal(codes.ResourceExhausted))
	m.g.Expect(err.Error()).To(ContainSubstring("set aside"))
	m.g.Expect(m.metric("sallyport_node_publishes_total", v1alpha1.ReasonNodeFull)).To(BeEquivalentTo(1))
	m.g.Expect(m.unpublish()).To(Succeed())
	m.expectNothingLeft()
}

func TestUnmountOfABusyVolumeEndsLazily(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	m.mounter.busy[m.driver.store.Path(volumeID)] = true

	m.g.Expect(m.unpublish()).To(Succeed())

	m.expectNothingLeft()
}

func TestUnpublishOfAnotherTargetLeavesTheVolume(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())

	_, err := m.calls.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: m.target() + "2"})

	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(m.files()).NotTo(BeEmpty())
}

func TestTmpfsIsBoundedByTheCaps(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) {
		r.VolumeCapability.GetMount().MountFlags = []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`}
	})).To(Succeed())

	options := m.mounter.tmpfs[m.driver.store.Path(volumeID)]

	m.g.Expect(options.Context).To(Equal("system_u:object_r:container_file_t:s0:c1,c2"))
	m.g.Expect(options.Size).To(BeNumerically(">=", 2*(resolverv1.MaxContentBytes+resolverv1.MaxFiles*os.Getpagesize())))
	m.g.Expect(options.Inodes).To(BeNumerically(">=", 4*resolverv1.MaxFiles))
}

func TestStateLiesBesideTheFilesAndHoldsNoSecret(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())

	content, err := os.ReadFile(filepath.Join(m.driver.store.Path(volumeID), volume.StateFile))

	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(string(content)).To(And(ContainSubstring(`"complete":true`), ContainSubstring(m.target()), ContainSubstring("shop-0")))
	m.g.Expect(string(content)).NotTo(Or(ContainSubstring(secretToken), ContainSubstring(secretContent)))
	entries, err := os.ReadDir(m.target())
	m.g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		m.g.Expect(strings.Contains(entry.Name(), "state")).To(BeFalse())
	}
}
