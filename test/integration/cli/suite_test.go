// Package cli tests kubectl's plugin: its commands in this process, against a real API server, where the real controller,
// with a real Vault, writes the status that they read. What a kubelet would write, the specs write.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var (
	ctx        = context.Background()
	cp         *env.ControlPlane
	vault      *env.Vault
	kubeconfig string
)

func TestCLI(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(45 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Integration: kubectl's plugin")
}

var _ = BeforeSuite(func() {
	log := zap.New(zap.WriteTo(GinkgoWriter), zap.UseDevMode(true))
	ctrl.SetLogger(log)
	var err error
	cp, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cp.Stop()).To(Succeed()) })
	kubeconfig = write(cp.Config)

	vault, err = env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(vault.Close)
	vault.Policy("read", `path "secret/*" { capabilities = ["create", "read", "update"] }`)

	replica, err := cp.StartController(ctx, "sallyport-controller-0", log)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(replica.Stop()).To(Succeed()) })
})

// write makes a kubeconfig of a configuration.
func write(config *rest.Config) string {
	GinkgoHelper()
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(clientcmd.WriteToFile(*file, path)).To(Succeed())
	return path
}

// result is what a command printed, and how it ended.
type result struct {
	Out, Err string
	Code     int
}

func run(args ...string) result { return runWith(nil, "", args...) }

// runWith runs a command in an environment, with something to read.
func runWith(environment map[string]string, in string, args ...string) result {
	var out, complaints bytes.Buffer
	streams := genericiooptions.IOStreams{In: bytes.NewBufferString(in), Out: &out, ErrOut: &complaints}
	code := cli.Main(append([]string{"--kubeconfig", kubeconfig}, args...), streams, func(name string) string { return environment[name] })
	return result{out.String(), complaints.String(), code}
}

// decoded runs a command with -o json.
func decoded[T any](args ...string) (found T, code int) {
	GinkgoHelper()
	r := run(append(args, "-o", "json")...)
	Expect(json.Unmarshal([]byte(r.Out), &found)).To(Succeed(), "%s%s", r.Out, r.Err)
	return found, r.Code
}

func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(cp.Client.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

func create(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
	}
}

// readyConfig creates the VaultConfig "main", with a token for the engine "secret", and waits until it is ready.
func readyConfig(namespace string, options ...func(*v1alpha1.VaultConfig)) {
	GinkgoHelper()
	token := vault.Token(env.TokenOptions{Policies: []string{"read"}, TTL: time.Hour})
	config := vault.Config(namespace, builder.ConfigName, options...)
	create(builder.TokenSecret(namespace, builder.TokenSecretName, token), config)
	await(config, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
}

// await waits until a condition of the object as it is now has a reason.
func await(object client.Object, kind, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		found := meta.FindStatusCondition(env.Conditions(object), kind)
		g.Expect(found).NotTo(BeNil(), "%v", env.Conditions(object))
		g.Expect(found.Reason).To(Equal(reason), found.Message)
		g.Expect(found.ObservedGeneration).To(Equal(object.GetGeneration()))
	}).Should(Succeed())
}

// grant gives a user a ClusterRole in a namespace. The roles that are made of others are so as a controller does it, which
// is not there.
func grant(namespace, user, role string) {
	GinkgoHelper()
	for _, of := range []string{role, "sallyport-" + role} {
		create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "grant-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: of},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
		})
	}
	Expect(cp.AwaitRights(ctx)).To(Succeed())
}
