package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
)

func TestIdentity(t *testing.T) {
	n := newTestNode(t)

	info, err := n.identity.GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(info.GetName()).To(Equal("csi.sallyport.dev"))
	n.g.Expect(info.GetVendorVersion()).To(Equal("v0"))
	node, err := n.calls.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(node.GetNodeId()).To(Equal("node-1"))
	_, err = n.calls.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{})
	n.g.Expect(status.Code(err)).To(Equal(codes.Unimplemented))
}

func TestKubeletRegistersTheDriver(t *testing.T) {
	n := newTestNode(t)
	connection, err := grpc.NewClient("unix://"+n.driver.config.registrationSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = connection.Close() }()
	kubelet := registration.NewRegistrationClient(connection)

	info, err := kubelet.GetInfo(t.Context(), &registration.InfoRequest{})
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(info.GetType()).To(Equal("CSIPlugin"))
	n.g.Expect(info.GetName()).To(Equal("csi.sallyport.dev"))
	n.g.Expect(info.GetEndpoint()).To(Equal(filepath.Join(n.dir, "plugins", "csi.sallyport.dev", "csi.sock")))
	n.g.Expect(info.GetSupportedVersions()).To(Equal([]string{"1.0.0"}))

	for _, accepted := range []bool{true, false} {
		_, err = kubelet.NotifyRegistrationStatus(t.Context(), &registration.RegistrationStatus{PluginRegistered: accepted, Error: "why not"})
		n.g.Expect(err).NotTo(HaveOccurred())
		n.g.Expect(n.driver.registered.Load()).To(Equal(accepted))
	}
	n.g.Expect(n.metric("sallyport_node_registered")).To(BeZero())
	n.g.Expect(n.logs.String()).To(ContainSubstring("why not"))
}

func TestSocketOfAKilledProcessIsTakenOver(t *testing.T) {
	n := newTestNode(t)
	n.stop()
	for _, path := range []string{n.driver.config.socket(), n.driver.config.registrationSocket()} {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		n.g.Expect(err).NotTo(HaveOccurred())
		listener.SetUnlinkOnClose(false)
		n.g.Expect(listener.Close()).To(Succeed())
	}
	n.start()

	n.stop()
	n.g.Expect(os.WriteFile(n.driver.config.socket(), []byte("not a socket"), 0o600)).To(Succeed())
	driver, err := New(n.config())
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(driver.Run(t.Context())).To(MatchError(ContainSubstring("is no socket")))
}

func TestWithoutMountPropagationNothingIsServed(t *testing.T) {
	n := newTestNode(t)
	n.stop()
	n.mounter.private = true
	driver, err := New(n.config())
	n.g.Expect(err).NotTo(HaveOccurred())

	n.g.Expect(driver.Run(t.Context())).To(MatchError(ContainSubstring("mountPropagation: Bidirectional")))
}

func TestHealth(t *testing.T) {
	n := newTestNode(t)
	health := func() int {
		recorder := httptest.NewRecorder()
		n.driver.Healthz(recorder, httptest.NewRequestWithContext(context.Background(), "GET", "/healthz", nil))
		return recorder.Code
	}
	n.g.Expect(health()).To(Equal(200))
	n.stop()
	n.g.Expect(health()).To(Equal(503))
}

func TestNoSecretIsEverPrintedOrKeptOutsideTheFiles(t *testing.T) {
	n := newTestNode(t, withLeases)
	secret := Or(ContainSubstring(secretToken), ContainSubstring(secretContent), ContainSubstring(secretLease),
		ContainSubstring(base64.StdEncoding.EncodeToString([]byte(secretLease))[:16]))
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "SQLORACLE", "password": secretContent, "more": secretContent})
	n.passTime(func(g Gomega) { g.Expect(n.files()).To(HaveLen(3)) })
	n.resolver.failWith(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	n.passTime(func(g Gomega) { g.Expect(n.metric("sallyport_node_stale_volumes")).To(BeEquivalentTo(1)) })
	for _, change := range []func(*csi.NodePublishVolumeRequest){
		func(*csi.NodePublishVolumeRequest) {},
		func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["unknown"] = secretContent },
		func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = `{"` + secretToken },
	} {
		n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" }, change)).NotTo(Succeed())
	}
	n.resolver.failWith(nil)
	n.resolver.setRevokeError(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	n.resolver.setFiles(map[string]string{"../" + "out": secretContent})
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" })).NotTo(Succeed())
	n.g.Eventually(n.logs.String).Should(ContainSubstring("Leases not given back yet"))
	n.steps.failAtStep(n.steps.taken())

	families, err := n.registry.Gather()
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(fmt.Sprint(families)).NotTo(secret)
	n.g.Expect(n.logs.String()).NotTo(secret)
	n.g.Expect(n.errors.String()).NotTo(secret)
	n.g.Expect(filepath.WalkDir(n.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "/"+volume.FilesDir+"/") {
			return err
		}
		content, err := os.ReadFile(path)
		if len(leasesIn(content)) > 0 {
			content = nil // sealed leases, in their only places
			n.g.Expect(path).To(Or(HaveSuffix("/"+volume.StateFile), ContainSubstring("/releases/")))
		}
		if filepath.Base(path) == volume.TokenFile { // the pod's token, in its only place; none for Vault
			info, statErr := entry.Info()
			n.g.Expect(statErr).NotTo(HaveOccurred())
			n.g.Expect(info.Mode().Perm()).To(Equal(fs.FileMode(0o600)))
			n.g.Expect(string(content)).NotTo(Or(ContainSubstring("for Vault"), ContainSubstring(secretContent)))
			content = nil
		}
		n.g.Expect(string(content)+path).NotTo(secret, path)
		return err
	})).To(Succeed())
	_, token := n.driver.volumes.Get(volumeID).Snapshot()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		n.g.Expect(fmt.Sprintf(verb, token)).NotTo(secret)
	}
}
