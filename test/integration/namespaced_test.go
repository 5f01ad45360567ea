package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("config/namespaced", Serial, func() {
	root := func() string {
		GinkgoHelper()
		dir, err := env.Root()
		Expect(err).NotTo(HaveOccurred())
		return filepath.Join(dir, "config", "namespaced")
	}

	It("gives no right to Secrets in the whole cluster", func() {
		output, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kustomize", root()).Output()
		Expect(err).NotTo(HaveOccurred())
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(output), 4096)
		sensitive := map[string]bool{}
		var bound []string
		for {
			var object struct {
				metav1.TypeMeta   `json:",inline"`
				metav1.ObjectMeta `json:"metadata"`
				Rules             []rbacv1.PolicyRule `json:"rules"`
				RoleRef           rbacv1.RoleRef      `json:"roleRef"`
			}
			if decoder.Decode(&object) != nil {
				break
			}
			switch object.Kind {
			case "ClusterRole":
				for _, rule := range object.Rules {
					for _, resource := range rule.Resources {
						if resource == "secrets" || resource == "configmaps" || resource == "serviceaccounts/token" || resource == "*" {
							sensitive[object.Name] = true
						}
					}
				}
			case "ClusterRoleBinding":
				bound = append(bound, object.RoleRef.Name)
			}
		}
		Expect(sensitive).To(HaveKey("sallyport-credentials"), "it is there to be bound")
		Expect(bound).To(ContainElement("sallyport-controller"))
		for role := range sensitive {
			Expect(bound).NotTo(ContainElement(role))
		}
	})

	It("says what is missing in a namespace without access, and works in one with it", func() {
		everywhere := &rbacv1.ClusterRoleBinding{}
		Expect(cp.Client.Get(ctx, client.ObjectKey{Name: "sallyport-credentials"}, everywhere)).To(Succeed())
		Expect(cp.Client.Delete(ctx, everywhere)).To(Succeed())
		DeferCleanup(func(ctx context.Context) {
			everywhere.ResourceVersion, everywhere.UID = "", ""
			Expect(cp.Client.Create(ctx, everywhere)).To(Succeed())
			Expect(cp.AwaitRights(ctx)).To(Succeed())
		})
		controller := as("system:serviceaccount:"+env.Namespace+":sallyport-controller", "")
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main")
		Eventually(func() error { // the authorizer follows its own watch
			return controller.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "vault-token"}, secret())
		}).Should(MatchError(ContainSubstring("forbidden")))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing, ContainSubstring(
			"Sallyport may not get Secret "+namespace+"/vault-token (VaultConfig "+namespace+"/main); "+
				"bind the ClusterRole sallyport-credentials to its service account in namespace "+namespace))

		content, err := os.ReadFile(filepath.Join(root(), "access.yaml"))
		Expect(err).NotTo(HaveOccurred())
		access := &rbacv1.RoleBinding{}
		Expect(yaml.Unmarshal(content, access)).To(Succeed())
		access.Namespace = namespace
		create(access)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(controller.Get(ctx, client.ObjectKey{Namespace: newNamespace(), Name: "vault-token"}, secret())).To(MatchError(ContainSubstring("forbidden")))
	})
})
