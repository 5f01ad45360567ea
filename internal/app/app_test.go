package app

import (
	"bytes"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
)

func TestMain_ExitCodesAndMessages(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		env    map[string]string
		code   int
		output string
	}{
		"no mode shows the usage":    {nil, nil, exitUsage, "Usage:"},
		"an unknown mode is named":   {[]string{"contoller"}, nil, exitUsage, `there is no mode "contoller"`},
		"help is no error":           {[]string{"help"}, nil, exitOK, "sallyport node [flags]"},
		"a mode's help is no error":  {[]string{"node", "--help"}, nil, exitOK, "-memory-budget"},
		"version prints the version": {[]string{"version"}, nil, exitOK, "devel"},
		"an unknown flag is named":   {[]string{"node", "--nodename=a"}, nil, exitUsage, "-nodename"},
		"a log level that shows Secrets": {[]string{"controller", "--zap-log-level=8"}, nil, exitUsage,
			"must be at most 5"},
		"arguments have no meaning": {[]string{"node", "a"}, nil, exitUsage, `unexpected argument "a"`},
		"a node needs its name":     {[]string{"node"}, nil, exitUsage, "--node-name (or NODE_NAME) must be set"},
		"a node needs its namespace": {[]string{"node"}, map[string]string{"NODE_NAME": "a"}, exitUsage,
			"--pod-namespace"},
		"a controller needs its pod": {[]string{"controller"}, nil, exitUsage, "--pod-name and --pod-namespace"},
		"a pod's IP must be an address": {[]string{"controller", "--pod-ip=localhost"},
			map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b"}, exitUsage, `must be an IP address, and is "localhost"`},
		"a bound is no negative number": {[]string{"controller", "--pod-ip=10.0.0.1", "--vault-requests-per-second=-1"},
			map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b"}, exitUsage, "--vault-requests-per-second must be at least 0, and is -1"},
		"a burst lets one through": {[]string{"controller", "--pod-ip=10.0.0.1", "--kube-api-burst=0"},
			map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b"}, exitUsage, "--kube-api-burst must be at least 1, and is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"NODE_NAME", "POD_NAME", "POD_NAMESPACE", "POD_IP"} {
				t.Setenv(variable, test.env[variable])
			}
			var output bytes.Buffer
			NewWithT(t).Expect(Main(test.args, &output, &output)).To(Equal(test.code))
			NewWithT(t).Expect(output.String()).To(ContainSubstring(test.output))
		})
	}
}

func TestAllowedURLsAreSplit(t *testing.T) {
	g := NewWithT(t)
	m := controllerMode{allowedVaults: " https://a:8200, https://b:8200 ,", allowedProxies: "http://p:3128"}
	m.options.PodName, m.options.PodNamespace, m.options.PodIP = "a", "b", "10.0.0.1"
	m.options.VaultBurst, m.options.KubeAPIBurst = 1, 1
	g.Expect(m.validate()).To(Succeed())
	g.Expect(m.options.AllowedVaultURLs).To(Equal([]string{"https://a:8200", "https://b:8200"}))
	g.Expect(m.options.AllowedProxyURLs).To(Equal([]string{"http://p:3128"}))
}

// TestAReplicasRequestsToTheKubernetesAPIHaveOneBound: all clients that are made of the manager's configuration share it.
func TestAReplicasRequestsToTheKubernetesAPIHaveOneBound(t *testing.T) {
	g := NewWithT(t)
	options := ControllerOptions{
		Config: &rest.Config{Host: "https://127.0.0.1:1"}, MetricsAddress: "0", ProbeAddress: "0", KubeAPIQPS: 7, KubeAPIBurst: 2,
	}
	mgr, err := newManager(t.Context(), options, logr.Discard())
	g.Expect(err).NotTo(HaveOccurred())
	limiter := mgr.GetConfig().RateLimiter
	g.Expect(limiter.QPS()).To(BeEquivalentTo(7))
	g.Expect([]bool{limiter.TryAccept(), limiter.TryAccept(), limiter.TryAccept()}).To(Equal([]bool{true, true, false}))
	options.KubeAPIQPS = 0
	mgr, err = newManager(t.Context(), options, logr.Discard())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mgr.GetConfig().RateLimiter).To(BeNil())
}
