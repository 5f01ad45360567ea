//go:build linux

package sanity

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// fixture is what the driver works with: a resolver, and a pod that may mount what it resolves.
type fixture struct {
	nodeName string
	resolver node.Resolver
	// volumeID is the kubelet's for the pod's volume: the resolver takes no other.
	volumeID string
	// volumeContext and secrets are what the kubelet sends for the pod's volume.
	volumeContext map[string]string
	secrets       map[string]string
	stop          func() error
}

// newFixture starts what the whole suite runs in: a real API server, a real Vault, and a replica of the
// controller, whose resolver authorises every request of the driver by the pod's and the plugin's real tokens.
func newFixture() fixture {
	GinkgoHelper()
	const namespace = "shop"
	ctx, cancel := context.WithCancel(context.Background())
	cp, err := env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	vault, err := env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	plugin, err := cp.CreateNode(ctx, "node-1")
	Expect(err).NotTo(HaveOccurred())
	replica, err := cp.StartController(ctx, "sallyport-controller-0", logr.Discard())
	Expect(err).NotTo(HaveOccurred())

	vault.Policy("shop", `path "secret/data/db" { capabilities = ["read"] }`)
	vault.PutKV("secret/data/db", map[string]any{"password": "tiger"})
	connection := createObjects(ctx, cp, vault, namespace)
	Eventually(func() bool {
		Expect(cp.Client.Get(ctx, ctrlclient.ObjectKeyFromObject(connection), connection)).To(Succeed())
		return meta.IsStatusConditionTrue(connection.Status.Conditions, v1alpha1.ConditionReady)
	}).WithTimeout(45 * time.Second).Should(BeTrue())

	attributes := map[string]string{"connection": "db"}
	pod, err := plugin.CreatePod(ctx, namespace, "app-0", attributes)
	Expect(err).NotTo(HaveOccurred())
	resolver := client.New(client.Config{
		Kubernetes: cp.Clients, Namespace: env.Namespace, NodeName: plugin.Name, Port: replica.ResolverPort,
		TokenFile: tokenFile(ctx, plugin),
	})
	go func() { _ = resolver.Run(ctx) }()

	return fixture{
		nodeName: plugin.Name,
		resolver: resolver,
		volumeID: env.VolumeID(pod, builder.VolumeName),
		volumeContext: map[string]string{
			"connection":                             "db",
			"csi.storage.k8s.io/ephemeral":           "true",
			"csi.storage.k8s.io/pod.name":            pod.Name,
			"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(pod.UID),
			"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		},
		secrets: map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": podTokens(ctx, cp, pod)},
		stop: func() error {
			cancel()
			err := errors.Join(replica.Stop(), cp.Stop())
			vault.Close()
			return err
		},
	}
}

// createObjects creates what a user would: a token's Secret, a VaultConfig and a Connection.
func createObjects(ctx context.Context, cp *env.ControlPlane, vault *env.Vault, namespace string) *v1alpha1.Connection {
	GinkgoHelper()
	connection := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret("db"))
	for _, object := range []ctrlclient.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		builder.TokenSecret(namespace, builder.TokenSecretName, vault.Token(env.TokenOptions{Policies: []string{"shop"}})),
		vault.Config(namespace, builder.ConfigName),
		connection,
	} {
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
	}
	return connection
}

// tokenFile holds the plugin's own token, as its projected volume would.
func tokenFile(ctx context.Context, plugin *env.Node) string {
	GinkgoHelper()
	token, err := plugin.Token(ctx)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "token")
	Expect(os.WriteFile(file, []byte(token), 0o600)).To(Succeed())
	return file
}

// podTokens is what the kubelet hands to the driver: a token for each audience of the CSIDriver's tokenRequests.
func podTokens(ctx context.Context, cp *env.ControlPlane, pod *corev1.Pod) string {
	GinkgoHelper()
	token, err := cp.PodToken(ctx, pod, v1alpha1.AudiencePod)
	Expect(err).NotTo(HaveOccurred())
	encoded, err := json.Marshal(map[string]any{
		v1alpha1.AudiencePod: map[string]string{"token": token, "expirationTimestamp": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
	})
	Expect(err).NotTo(HaveOccurred())
	return string(encoded)
}
