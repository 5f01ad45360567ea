package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
	n := newTestNode(t)

	n.g.Expect(n.publish()).To(Succeed())

	n.g.Expect(n.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": secretContent}))
	n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal(secretToken))
	n.g.Expect(n.resolver.lastRequest().GetVolumeAttributes()).To(Equal(map[string]string{v1alpha1.AttributeConnection: "db"}),
		"what the kubelet added must not be sent")
	n.g.Expect(n.resolver.lastRequest().GetRevision()).To(BeEmpty(), "a first mount always reads")
	n.g.Expect(n.metric("sallyport_node_volumes")).To(BeEquivalentTo(1))
	n.g.Expect(n.metric("sallyport_node_publishes_total", v1alpha1.ReasonSucceeded)).To(BeEquivalentTo(1))
	n.g.Expect(n.metric("sallyport_node_publish_duration_seconds")).To(BeEquivalentTo(1))
	n.g.Expect(n.metric("sallyport_node_memory_used_bytes")).To(Equal(float64(n.size("password", secretContent, "type", "SQLORACLE"))))

	n.g.Expect(n.unpublish()).To(Succeed())
	n.expectNothingLeft()
	n.g.Expect(n.unpublish()).To(Succeed(), "unpublish must be idempotent")
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
			n := newTestNode(t)
			n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.GetMount().VolumeMountGroup = test.group
			})).To(Succeed())

			link, err := os.Readlink(filepath.Join(n.target(), "password"))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(link).To(Equal("..data/password"))
			dir, err := os.Readlink(filepath.Join(n.target(), "..data"))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(dir).To(HavePrefix("..2026_01_02_03_04_05."))
			info, err := os.Stat(filepath.Join(n.target(), "password"))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(info.Mode()).To(Equal(test.mode))
			n.g.Expect(info.Sys().(*syscall.Stat_t).Gid).To(Equal(test.gid))
			info, err = os.Stat(filepath.Join(n.target(), dir))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o755))
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
			n := newTestNode(t)
			response := &resolverv1.ResolveResponse{Revision: "1", RefreshAfterMs: 1000, Files: []*resolverv1.File{
				{Path: "plain", Content: []byte("p")}, {Path: "key", Content: []byte("k"), Mode: 0o400}, {Path: "script", Content: []byte("s"), Mode: 0o755},
			}}
			n.resolver.response = response
			n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.GetMount().VolumeMountGroup = test.group
			})).To(Succeed())
			for path, mode := range test.modes {
				info, err := os.Stat(filepath.Join(n.target(), path))
				n.g.Expect(err).NotTo(HaveOccurred())
				n.g.Expect(info.Mode()).To(Equal(mode), path)
				if test.group != "" {
					n.g.Expect(info.Sys().(*syscall.Stat_t).Gid).To(BeEquivalentTo(4711), path)
				}
			}
			kept, err := os.Stat(filepath.Join(n.target(), "plain"))
			n.g.Expect(err).NotTo(HaveOccurred())

			n.resolver.mu.Lock()
			n.resolver.response = &resolverv1.ResolveResponse{Revision: "2", RefreshAfterMs: 1000, Files: []*resolverv1.File{
				response.Files[0], {Path: "key", Content: []byte("k"), Mode: 0o444}, response.Files[2],
			}}
			n.resolver.mu.Unlock()
			n.passTime(func(g Gomega) {
				info, failure := os.Stat(filepath.Join(n.target(), "key"))
				g.Expect(failure).NotTo(HaveOccurred())
				g.Expect(info.Mode()).To(BeEquivalentTo(0o444), "a changed mode is a change, although the content is the same")
			})
			same, err := os.Stat(filepath.Join(n.target(), "plain"))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(os.SameFile(kept, same)).To(BeTrue())
		})
	}
}

func TestFailedPublishSaysWhyAndLeavesNothing(t *testing.T) {
	sentence := `Connection shop/db, key "password": GET secret/data/db → 403 permission denied`
	for _, test := range []struct {
		name     string
		response *resolverv1.ResolveResponse
		err      error
		code     codes.Code
		says     string
	}{
		{name: "the policy forbids it", err: fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s", sentence), code: codes.PermissionDenied, says: sentence},
		{name: "there is no such Connection", err: fault.Waiting(v1alpha1.ReasonConnectionNotFound, "gone"), code: codes.NotFound, says: "gone"},
		{name: "the VaultConfig is disabled", err: fault.Waiting(v1alpha1.ReasonConfigDisabled, "off"), code: codes.FailedPrecondition, says: "off"},
		{name: "the pod overrides an unknown key", err: fault.Terminal(v1alpha1.ReasonUnknownOverride, "no such key"), code: codes.InvalidArgument, says: "no such key"},
		{name: "no resolver answers", err: fault.Transient(v1alpha1.ReasonNoResolver, "nobody"), code: codes.Unavailable, says: "nobody"},
		{name: "the content is too large", err: fault.Terminal(v1alpha1.ReasonTooLarge, "too large"), code: codes.ResourceExhausted, says: "too large"},
		{name: "Sallyport is broken", err: fault.Transient(v1alpha1.ReasonInternal, "oops"), code: codes.Internal, says: "oops"},
		{name: "the resolver sends no files", response: &resolverv1.ResolveResponse{}, code: codes.Internal, says: "without a single file"},
		{name: "the resolver calls a first mount unchanged", response: &resolverv1.ResolveResponse{Unchanged: true}, code: codes.Internal, says: "without a single file"},
		{name: "a file would lie outside", response: responseWith("../../etc/passwd"), code: codes.FailedPrecondition, says: `"../../etc/passwd" cannot be the name`},
		{name: "a file would hide the layout", response: responseWith("..data"), code: codes.FailedPrecondition, says: `"..data" cannot be the name`},
		{name: "a file comes twice", response: responseWith("a", "a"), code: codes.FailedPrecondition, says: `"a" cannot be the name`},
		{name: "a file would run as its owner", response: &resolverv1.ResolveResponse{Files: []*resolverv1.File{{Path: "a", Mode: 0o4755}}},
			code: codes.FailedPrecondition, says: `"a" cannot have mode 04755`},
		{name: "too many files", response: &resolverv1.ResolveResponse{Files: make([]*resolverv1.File, resolverv1.MaxFiles+1)}, code: codes.ResourceExhausted, says: "513 files"},
		{name: "too many bytes", response: &resolverv1.ResolveResponse{Files: []*resolverv1.File{{Path: "a", Content: make([]byte, resolverv1.MaxContentBytes+1)}}},
			code: codes.ResourceExhausted, says: "1048577 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t)
			n.resolver.resolveError, n.resolver.response = test.err, test.response
			n.steps.reset()

			err := n.publish()

			n.g.Expect(status.Code(err)).To(Equal(test.code), "%v", err)
			n.g.Expect(err.Error()).To(ContainSubstring(test.says))
			n.expectNothingLeft()
			n.g.Expect(n.steps.log).NotTo(ContainElement(HavePrefix("tmpfs")), "nothing may be mounted before there is something to show")
			n.g.Expect(n.logs.String()).To(ContainSubstring(messageCallFailed))
			n.g.Expect(n.logs.String()).To(ContainSubstring(`"pod"="shop/shop-0"`))
		})
	}
}

func responseWith(paths ...string) *resolverv1.ResolveResponse {
	r := &resolverv1.ResolveResponse{}
	for _, path := range paths {
		r.Files = append(r.Files, &resolverv1.File{Path: path, Content: []byte("x")})
	}
	return r
}

func TestRepublishAnswersAtOnceWhateverTheResolver(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	before := n.files()
	n.resolver.failWith(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	taken, asked := n.steps.taken(), n.resolver.requests()

	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = n.tokens("next") })).To(Succeed())
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets = nil })).To(Succeed(), "without a token the files stay")

	n.g.Expect(n.files()).To(Equal(before))
	n.g.Expect(n.steps.taken()).To(Equal(taken), "a republish must not touch the volume")
	n.g.Expect(n.resolver.requests()).To(Equal(asked))
	_, token := n.driver.volumes.Get(volumeID).Snapshot()
	n.g.Expect(token.Value).To(Equal("next"))
}

func TestRepublishDoesNotWaitForARefresh(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	unblock := n.resolver.block()
	defer unblock()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(Equal(2)) })

	n.g.Expect(n.publish()).To(Succeed())
}

func TestRepublishMountsAgainWhatSomebodyUnmounted(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.mounter.Unmount(n.target(), false)).To(Succeed())
	n.resolver.failWith(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))

	n.g.Expect(n.publish()).To(Succeed())

	n.g.Expect(n.files()).To(HaveKeyWithValue("password", secretContent))
}

func TestOneVolumeHasOneTarget(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())

	err := n.publish(func(r *csi.NodePublishVolumeRequest) { r.TargetPath += "2" })

	n.g.Expect(status.Code(err)).To(Equal(codes.FailedPrecondition))
	n.g.Expect(n.files()).NotTo(BeEmpty())
}

func TestConcurrentPublishResolvesOnce(t *testing.T) {
	n := newTestNode(t)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if err := n.publish(); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	n.g.Expect(n.resolver.requests()).To(Equal(1))
	n.g.Expect(n.files()).To(HaveLen(2))
}

func TestUnpublishWaitsForThePublishUnderWay(t *testing.T) {
	n := newTestNode(t)
	unblock := n.resolver.block()
	published := make(chan error, 1)
	go func() { published <- n.publish() }()
	n.g.Eventually(n.resolver.requests).Should(Equal(1))
	unpublished := make(chan error, 1)
	go func() { unpublished <- n.unpublish() }()
	n.g.Consistently(unpublished, "100ms").ShouldNot(Receive())

	unblock()

	n.g.Expect(<-published).To(Succeed())
	n.g.Expect(<-unpublished).To(Succeed())
	n.expectNothingLeft()
}

func TestNodeThatIsFullRefuses(t *testing.T) {
	n := newTestNode(t, func(n *testNode) { n.budget = 3 * n.size("password", secretContent, "type", "SQLORACLE") / 2 })
	n.g.Expect(n.publish()).To(Succeed())

	err := n.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" })

	n.g.Expect(status.Code(err)).To(Equal(codes.ResourceExhausted))
	n.g.Expect(err.Error()).To(ContainSubstring("set aside"))
	n.g.Expect(n.metric("sallyport_node_publishes_total", v1alpha1.ReasonNodeFull)).To(BeEquivalentTo(1))
	n.g.Expect(n.unpublish()).To(Succeed())
	n.expectNothingLeft()
}

func TestNobodyIsAskedForAVolumeThatTheNodeHasNoRoomFor(t *testing.T) {
	n := newTestNode(t, func(n *testNode) { n.budget = 2 * n.size() })
	n.resolver.setFiles(map[string]string{"large": strings.Repeat("x", 1<<17)})
	n.g.Expect(status.Code(n.publish())).To(Equal(codes.ResourceExhausted))
	asked := n.resolver.requests()
	n.g.Expect(asked).To(Equal(1), "nobody knows how large it is")

	n.g.Expect(status.Code(n.publish())).To(Equal(codes.ResourceExhausted))
	n.g.Expect(n.resolver.requests()).To(Equal(asked))

	n.resolver.setFiles(map[string]string{"small": ""})
	n.clock.Step(needFor + time.Second)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
		r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2"
	})).NotTo(Succeed())
	n.g.Expect(n.resolver.requests()).To(Equal(asked+1), "there is no room for anything")
}

func TestAPodWithTooManyVolumesIsToldWhatToDo(t *testing.T) {
	n := newTestNode(t)
	publish := func(i int) error {
		return n.publish(func(r *csi.NodePublishVolumeRequest) {
			r.VolumeId, r.TargetPath = fmt.Sprintf("csi-%d", i), fmt.Sprintf("%s%d", r.TargetPath, i)
		})
	}
	for i := range volume.MaxPerPod {
		n.g.Expect(publish(i)).To(Succeed())
	}
	n.g.Expect(publish(volume.MaxPerPod)).To(MatchError(And(
		ContainSubstring("the pod shop/shop-0 has 20 volumes"), ContainSubstring("put what it needs into fewer Connections"))))
	n.restart()
	n.g.Expect(publish(volume.MaxPerPod)).To(MatchError(ContainSubstring("has 20 volumes")), "also after a restart")
}

func TestUnmountOfABusyVolumeEndsLazily(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.mounter.busy[n.driver.store.Path(volumeID)] = true

	n.g.Expect(n.unpublish()).To(Succeed())

	n.expectNothingLeft()
}

func TestUnpublishOfAnotherTargetLeavesTheVolume(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())

	_, err := n.calls.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: n.target() + "2"})

	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(n.files()).NotTo(BeEmpty())
}

func TestTmpfsHasRoomForWhateverARefreshBrings(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
		r.VolumeCapability.GetMount().MountFlags = []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`}
	})).To(Succeed())

	options := n.mounter.tmpfs[n.driver.store.Path(volumeID)]

	n.g.Expect(options.Context).To(Equal("system_u:object_r:container_file_t:s0:c1,c2"))
	// Old and new files at the same time, with a link each.
	n.g.Expect(options.Size).To(And(BeNumerically(">=", 2*resolverv1.MaxContentBytes), BeNumerically("<", 16<<20)))
	n.g.Expect(options.Inodes).To(And(BeNumerically(">=", 4*resolverv1.MaxFiles), BeNumerically("<", 5*resolverv1.MaxFiles)))
}

func TestStateLiesBesideTheFilesAndHoldsNoSecret(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())

	content, err := os.ReadFile(filepath.Join(n.driver.store.Path(volumeID), volume.StateFile))

	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(string(content)).To(And(ContainSubstring(`"complete":true`), ContainSubstring(n.target()), ContainSubstring("shop-0")))
	n.g.Expect(string(content)).NotTo(Or(ContainSubstring(secretToken), ContainSubstring(secretContent)))
	entries, err := os.ReadDir(n.target())
	n.g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		n.g.Expect(strings.Contains(entry.Name(), "state")).To(BeFalse())
	}
}
