// Package rights tests what the API server itself refuses: by the admission policies, roles and schemas of config/, as
// the users and service accounts that they are about. No controller runs but where a spec starts one.
package rights

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

const controllerUser = "system:serviceaccount:" + env.Namespace + ":sallyport-controller"

var (
	ctx = context.Background()
	cp  *env.ControlPlane
)

func TestRights(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(45 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Integration: rights, sizes and forms, real API server")
}

var _ = BeforeSuite(func() {
	var err error
	cp, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cp.Stop()).To(Succeed()) })
})

func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(cp.Client.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

// as returns a client that acts as a user.
func as(user string) client.Client {
	GinkgoHelper()
	c, err := client.New(cp.As(user, ""), client.Options{Scheme: cp.Scheme})
	Expect(err).NotTo(HaveOccurred())
	return c
}

func create(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
	}
}

// grant gives a user rights in a namespace, beside those to write Sallyport's kinds.
func grant(namespace, user string, rules ...rbacv1.PolicyRule) {
	GinkgoHelper()
	rules = append(rules, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"create", "get", "patch", "update"},
	})
	create(
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		},
	)
	Expect(cp.AwaitRights(ctx)).To(Succeed())
}

func may(resource, verb string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names, Verbs: []string{verb}}
}

// written is an object of one of Sallyport's kinds, with its spec as users write it.
func written(kind, namespace, name, spec string) *unstructured.Unstructured {
	GinkgoHelper()
	object := map[string]any{}
	Expect(yaml.Unmarshal([]byte(spec), &object)).To(Succeed(), spec)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": object}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func root() string {
	GinkgoHelper()
	dir, err := env.Root()
	Expect(err).NotTo(HaveOccurred())
	return dir
}

// kubectl runs the program of the suite's API server, as an administrator or without a cluster.
func kubectl(arguments ...string) string {
	GinkgoHelper()
	command := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), arguments...)
	output, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), string(output))
	return string(output)
}
