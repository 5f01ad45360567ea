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
	m := newMachine(t)

	info, err := m.identity.GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(info.GetName()).To(Equal("csi.sallyport.dev"))
	m.g.Expect(info.GetVendorVersion()).To(Equal("v0"))
	node, err := m.calls.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(node.GetNodeId()).To(Equal("node-1"))
	_, err = m.calls.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{})
	m.g.Expect(status.Code(err)).To(Equal(codes.Unimplemented))
}

func TestKubeletRegistersTheDriver(t *testing.T) {
	m := newMachine(t)
	connection, err := grpc.NewClient("unix://"+m.driver.config.registrationSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	m.g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = connection.Close() }()
	kubelet := registration.NewRegistrationClient(connection)

	info, err := kubelet.GetInfo(t.Context(), &registration.InfoRequest{})
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(info.GetType()).To(Equal("CSIPlugin"))
	m.g.Expect(info.GetName()).To(Equal("csi.sallyport.dev"))
	m.g.Expect(info.GetEndpoint()).To(Equal(filepath.Join(m.dir, "plugins", "csi.sallyport.dev", "csi.sock")))
	m.g.Expect(info.GetSupportedVersions()).To(Equal([]string{"1.0.0"}))

	for _, accepted := range []bool{true, false} {
		_, err = kubelet.NotifyRegistrationStatus(t.Context(), &registration.RegistrationStatus{PluginRegistered: accepted, Error: "why not"})
		m.g.Expect(err).NotTo(HaveOccurred())
		m.g.Expect(m.driver.registered.Load()).To(Equal(accepted))
	}
	m.g.Expect(m.metric("sallyport_node_registered")).To(BeZero())
	m.g.Expect(m.logs.String()).To(ContainSubstring("why not"))
}

func TestSocketOfAKilledProcessIsTakenOver(t *testing.T) {
	m := newMachine(t)
	m.stop()
	for _, path := range []string{m.driver.config.socket(), m.driver.config.registrationSocket()} {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		m.g.Expect(err).NotTo(HaveOccurred())
		listener.SetUnlinkOnClose(false)
		m.g.Expect(listener.Close()).To(Succeed())
	}
	m.start()

	m.stop()
	m.g.Expect(os.WriteFile(m.driver.config.socket(), []byte("not a socket"), 0o600)).To(Succeed())
	driver, err := New(m.config())
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(driver.Run(t.Context())).To(MatchError(ContainSubstring("is no socket")))
}

func TestWithoutMountPropagationNothingIsServed(t *testing.T) {
	m := newMachine(t)
	m.stop()
	m.mounter.private = true
	driver, err := New(m.config())
	m.g.Expect(err).NotTo(HaveOccurred())

	m.g.Expect(driver.Run(t.Context())).To(MatchError(ContainSubstring("mountPropagation: Bidirectional")))
}

func TestHealth(t *testing.T) {
	m := newMachine(t)
	health := func() int {
		recorder := httptest.NewRecorder()
		m.driver.Healthz(recorder, httptest.NewRequestWithContext(context.Background(), "GET", "/healthz", nil))
		return recorder.Code
	}
	m.g.Expect(health()).To(Equal(200))
	m.stop()
	m.g.Expect(health()).To(Equal(503))
}

func TestNoSecretIsEverPrintedOrKeptOutsideTheFiles(t *testing.T) {
	m := newMachine(t, leased)
	secret := Or(ContainSubstring(secretToken), ContainSubstring(secretContent), ContainSubstring(secretLease),
		ContainSubstring(base64.StdEncoding.EncodeToString([]byte(secretLease))[:16]))
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.publish()).To(Succeed())
	m.resolver.set(map[string]string{"type": "SQLORACLE", "password": secretContent, "more": secretContent})
	m.passTime(func(g Gomega) { g.Expect(m.files()).To(HaveLen(3)) })
	m.resolver.fail(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	m.passTime(func(g Gomega) { g.Expect(m.metric("sallyport_node_stale_volumes")).To(BeEquivalentTo(1)) })
	for _, change := range []func(*csi.NodePublishVolumeRequest){
		func(*csi.NodePublishVolumeRequest) {},
		func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["unknown"] = secretContent },
		func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = `{"` + secretToken },
	} {
		m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" }, change)).NotTo(Succeed())
	}
	m.resolver.fail(nil)
	m.resolver.setAway(fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	m.resolver.set(map[string]string{"../" + "out": secretContent})
	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" })).NotTo(Succeed())
	m.g.Eventually(m.logs.String).Should(ContainSubstring("Leases not given back yet"))
	m.steps.arm(m.steps.taken(), 0)

	families, err := m.registry.Gather()
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(fmt.Sprint(families)).NotTo(secret)
	m.g.Expect(m.logs.String()).NotTo(secret)
	m.g.Expect(m.errors.String()).NotTo(secret)
	m.g.Expect(filepath.WalkDir(m.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "/"+volume.FilesDir+"/") {
			return err
		}
		content, err := os.ReadFile(path)
		if len(leasesIn(content)) > 0 {
			content = nil // sealed leases, in their only places
			m.g.Expect(path).To(Or(HaveSuffix("/"+volume.StateFile), ContainSubstring("/releases/")))
		}
		m.g.Expect(string(content)+path).NotTo(secret, path)
		return err
	})).To(Succeed())
	_, token := m.driver.volumes.Get(volumeID).Snapshot()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		m.g.Expect(fmt.Sprintf(verb, token)).NotTo(secret)
	}
}
