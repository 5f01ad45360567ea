package node

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestRequestsThatAreRefused(t *testing.T) {
	type request = csi.NodePublishVolumeRequest
	for _, test := range []struct {
		name   string
		change func(*request)
		code   codes.Code
		says   string
	}{
		{"no volume ID", func(r *request) { r.VolumeId = "" }, codes.InvalidArgument, "volume ID"},
		{"no target path", func(r *request) { r.TargetPath = "" }, codes.InvalidArgument, "target path"},
		{"a relative target path", func(r *request) { r.TargetPath = "pods/x" }, codes.InvalidArgument, "absolute"},
		{"a target path that leads out", func(r *request) { r.TargetPath += "/../../../../../../../etc" }, codes.InvalidArgument, "absolute and clean"},
		{"a target path outside the pods", func(r *request) { r.TargetPath = "/mnt/x" }, codes.InvalidArgument, "does not lie in"},
		{"no capability", func(r *request) { r.VolumeCapability = nil }, codes.InvalidArgument, "capability"},
		{"a block device", func(r *request) {
			r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}, codes.InvalidArgument, "block"},
		{"a PersistentVolume", func(r *request) { delete(r.VolumeContext, keyEphemeral) }, codes.InvalidArgument, "ephemeral"},
		{"no pod", func(r *request) { delete(r.VolumeContext, keyPodUID) }, codes.FailedPrecondition, "podInfoOnMount"},
		{"no connection", func(r *request) { delete(r.VolumeContext, v1alpha1.AttributeConnection) }, codes.InvalidArgument, `"connection" is missing`},
		{"an unknown attribute", func(r *request) { r.VolumeContext["conection"] = "db" }, codes.InvalidArgument, `"conection" is unknown`},
		{"an override of nothing", func(r *request) { r.VolumeContext["value."] = "x" }, codes.InvalidArgument, `"value." is unknown`},
		{"attributes without end", func(r *request) { r.VolumeContext["value.x"] = strings.Repeat("x", 16<<10) }, codes.InvalidArgument, "16384 bytes"},
		{"no token", func(r *request) { r.Secrets = nil }, codes.FailedPrecondition, "tokenRequests"},
		{"a token for somebody else", func(r *request) { r.Secrets[keyTokens] = `{"vault":{"token":"x"}}` }, codes.FailedPrecondition, "audience sallyport.dev"},
		{"tokens that are no JSON", func(r *request) { r.Secrets[keyTokens] = secretToken }, codes.InvalidArgument, "cannot be read"},
		{"a token of its own beside the kubelet's", func(r *request) { r.VolumeContext[keyTokens] = r.Secrets[keyTokens] }, codes.InvalidArgument, "token of its own"},
		{"a nodePublishSecretRef", func(r *request) { r.Secrets["password"] = secretContent }, codes.InvalidArgument, "nodePublishSecretRef"},
		{"an unknown mount option", func(r *request) { r.VolumeCapability.GetMount().MountFlags = []string{"suid"} }, codes.InvalidArgument, `"suid"`},
		{"an option hidden in a label", func(r *request) {
			r.VolumeCapability.GetMount().MountFlags = []string{`context="a",size=1g`}
		}, codes.InvalidArgument, "not an SELinux label"},
		{"a group that is no number", func(r *request) { r.VolumeCapability.GetMount().VolumeMountGroup = "staff" }, codes.InvalidArgument, `"staff"`},
		{"a pod that is gone", func(r *request) { r.TargetPath += "/deeper/still" }, codes.FailedPrecondition, "the pod is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t)

			err := n.publish(test.change)

			n.g.Expect(status.Code(err)).To(Equal(test.code), "%v", err)
			n.g.Expect(err.Error()).To(ContainSubstring(test.says))
			n.expectNothingLeft()
			n.g.Expect(n.errors.String() + n.logs.String()).NotTo(Or(ContainSubstring(secretToken), ContainSubstring(secretContent)))
		})
	}
}

func TestTokenOfKubernetesBefore135(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
		r.VolumeContext[keyTokens], r.Secrets = n.tokens(secretToken), nil
	})).To(Succeed())
	n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal(secretToken))
	n.g.Expect(n.resolver.lastRequest().GetVolumeAttributes()).NotTo(HaveKey(keyTokens))
}

func TestThePodsTokensForVaultReachTheResolverAndNoOthers(t *testing.T) {
	n := newTestNode(t)
	given := `{"sallyport.dev":{"token":"own"},"vault":{"token":"` + secretToken + `"},"other":{"token":"o"},"":{"token":"the API server's"},` +
		`"sallyport.dev/node":{"token":"n"},"empty":{}}`
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = given })).To(Succeed())
	n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal("own"))
	n.g.Expect(n.resolver.lastRequest().GetWorkloadTokens()).To(Equal(map[string]string{"vault": secretToken, "other": "o"}))
	n.g.Expect(n.logs.String()).NotTo(ContainSubstring(secretToken))
}

func TestOverridesReachTheResolver(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["value.service_name"] = "xe2" })).To(Succeed())
	n.g.Expect(n.resolver.lastRequest().GetVolumeAttributes()).To(Equal(map[string]string{"connection": "db", "value.service_name": "xe2"}))
}

func TestConfigurationIsChecked(t *testing.T) {
	n := newTestNode(t)
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no node name", func(c *Config) { c.NodeName = "" }, "the node's name is missing"},
		{"no resolver", func(c *Config) { c.Resolver = nil }, "the resolver is missing"},
		{"no registry", func(c *Config) { c.Registry = nil }, "the metrics registry is missing"},
		{"a negative budget", func(c *Config) { c.MemoryBudget = -1 }, "must not be negative"},
		{"a relative path", func(c *Config) { c.PluginDir = "plugins" }, "not absolute"},
		{"a plugin directory elsewhere", func(c *Config) { c.PluginDir = "/csi" }, "must lie in the kubelet's"},
		{"a path too long for a socket", func(c *Config) { c.KubeletDir += "/" + string(make([]byte, 100)) }, "too long for a Unix socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := n.config()
			test.change(&config)
			_, err := New(config)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(test.says)))
		})
	}
}
