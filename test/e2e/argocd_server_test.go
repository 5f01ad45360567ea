package e2e

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	argoNamespace = "argocd"
	// in-cluster, as Argo CD calls the cluster that it runs in
	argoCluster = "https://kubernetes.default.svc"

	redisAddress = "127.0.0.1:16379"
	repoAddress  = "127.0.0.1:18081"

	platformRights = "e2e-argocd-platform"

	// The projects: one applies with the platform's rights, the other as the service account "robot" of the namespace
	// that it applies to.
	platformProject = "default"
	robotProject    = "robots"
	robot           = "robot"
)

// startArgoCD starts the real Argo CD: application controller, repo server and redis, as programs of the node. They end
// with the ordered container, and their namespace and CRDs with them.
func startArgoCD(ctx context.Context) {
	GinkgoHelper()
	repositories = GinkgoT().TempDir()
	DeferCleanup(removeArgoCD, NodeTimeout(2*eventual))
	applyArgoCRDs(ctx)
	configureArgoCD(ctx)
	kubectl(ctx, "--namespace", argoNamespace, "patch", "configmap", "argocd-cm",
		"--patch-file", filepath.Join(paths.checkout, "config/argocd/argocd-cm.yaml"))

	_, port, err := net.SplitHostPort(redisAddress)
	Expect(err).NotTo(HaveOccurred())
	runArgoCD("redis", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	expectListens(ctx, redisAddress)
	host, port, err := net.SplitHostPort(repoAddress)
	Expect(err).NotTo(HaveOccurred())
	runArgoCD("repo-server", setting("ARGOCD_BINARY"), "--address", host, "--port", port, "--metrics-address", host, "--metrics-port", "18084",
		"--redis", redisAddress, "--disable-tls", "--loglevel", "warn")
	expectListens(ctx, repoAddress)
	// Nothing is looked at again because time passed: what the specs see is what they asked for, or self-heal.
	runArgoCD("application-controller", setting("ARGOCD_BINARY"), "--namespace", argoNamespace, "--redis", redisAddress,
		"--repo-server", repoAddress, "--repo-server-plaintext", "--metrics-port", "18082", "--loglevel", "warn",
		"--app-resync", "3600", "--app-resync-jitter", "0", "--status-processors", "4", "--operation-processors", "4",
		"--persist-resource-health")
}

// runArgoCD starts a program of Argo CD until the end of the ordered container. One binary is all of them, by its name.
func runArgoCD(name, program string, args ...string) {
	GinkgoHelper()
	log, err := os.Create(filepath.Join(paths.logs(), "argocd-"+name+".log"))
	Expect(err).NotTo(HaveOccurred())
	command := exec.CommandContext(context.Background(), program, args...)
	command.Args[0] = "argocd-" + name
	command.Stdout, command.Stderr = log, log
	command.Dir = GinkgoT().TempDir()
	command.Env = append(os.Environ(), "HOME="+command.Dir, "TMPDIR="+command.Dir, "HOSTNAME=argocd-"+name+"-0",
		"ARGOCD_FAKE_IN_CLUSTER=true", "ARGOCD_GPG_ENABLED=false",
		// Health is right at once, so no time has to pass between waves until it is.
		"ARGOCD_SYNC_WAVE_DELAY=0")
	for variable, dir := range map[string]string{
		"ARGOCD_TLS_DATA_PATH": "tls", "ARGOCD_SSH_DATA_PATH": "ssh", "ARGOCD_GNUPGHOME": "gpg", "ARGOCD_PLUGINSOCKFILEPATH": "plugins",
	} {
		dir = filepath.Join(command.Dir, dir)
		Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
		command.Env = append(command.Env, variable+"="+dir)
	}
	Expect(os.WriteFile(filepath.Join(command.Dir, "ssh", "ssh_known_hosts"), nil, 0o600)).To(Succeed())
	Expect(command.Start()).To(Succeed())
	DeferCleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
}

func expectListens(ctx context.Context, address string) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}).WithTimeout(eventual).Should(Succeed(), "see argocd-*.log")
}

// applyArgoCRDs installs Argo CD's CRDs, from the module that its binary is built of.
func applyArgoCRDs(ctx context.Context) {
	GinkgoHelper()
	crds := []string{"apply", "--server-side"}
	for _, kind := range []string{"application", "appproject", "applicationset"} {
		crds = append(crds, "--filename", filepath.Join(setting("ARGOCD_SOURCE"), "manifests", "crds", kind+"-crd.yaml"))
	}
	kubectl(ctx, crds...)
	expectEstablished(ctx, "crd/applications.argoproj.io", "crd/appprojects.argoproj.io")
}

// removeArgoCD is called when the programs have ended: nobody is left who would do what a finalizer asks for.
func removeArgoCD(ctx SpecContext) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(argoKind("ApplicationList"))
	Expect(api.List(ctx, list)).To(Succeed())
	for i := range list.Items {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		Expect(client.IgnoreNotFound(api.Patch(ctx, &list.Items[i], patch))).To(Succeed())
	}
	kubectl(ctx, "delete", "--ignore-not-found", "--timeout=60s", "clusterrolebinding/"+platformRights,
		"crd/applications.argoproj.io", "crd/appprojects.argoproj.io", "crd/applicationsets.argoproj.io", "namespace/"+argoNamespace)
}

// configureArgoCD makes what Argo CD's own manifests would make for the programs that run here.
func configureArgoCD(ctx context.Context) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: argoNamespace}}
	rights := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: platformRights},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: argoNamespace, Name: "platform"}},
	}
	create(ctx, namespace, rights)

	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: argoNamespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "argocd"}}
	}
	create(ctx,
		&corev1.ConfigMap{ObjectMeta: meta("argocd-cm"), Data: map[string]string{
			"application.sync.impersonation.enabled": "true",
			// What changes by itself all the time, as in Argo CD's own manifests.
			"resource.exclusions": "- {apiGroups: ['', discovery.k8s.io], kinds: [Endpoints, EndpointSlice]}\n" +
				"- {apiGroups: [coordination.k8s.io], kinds: [Lease]}\n",
		}},
		&corev1.ConfigMap{ObjectMeta: meta("argocd-rbac-cm")},
		&corev1.ConfigMap{ObjectMeta: meta("argocd-cmd-params-cm")},
		&corev1.Secret{ObjectMeta: meta("argocd-secret"), StringData: map[string]string{"server.secretkey": rand.Text()}},
		argoProject(platformProject, argoNamespace+":platform"), argoProject(robotProject, robot),
	)
}

// argoProject allows everything that its service account may do.
func argoProject(name, account string) client.Object {
	project := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"sourceRepos":              []any{"*"},
		"destinations":             []any{map[string]any{"server": "*", "namespace": "*"}},
		"clusterResourceWhitelist": []any{map[string]any{"group": "*", "kind": "*"}},
		"destinationServiceAccounts": []any{map[string]any{
			"server": argoCluster, "namespace": "*", "defaultServiceAccount": account,
		}},
	}}}
	project.SetGroupVersionKind(argoKind("AppProject"))
	project.SetNamespace(argoNamespace)
	project.SetName(name)
	return project
}

// expectEstablished waits for CRDs. kubectl takes a CRD without any condition, which it is at first, for an error.
func expectEstablished(ctx context.Context, crds ...string) {
	GinkgoHelper()
	for _, until := range []string{"jsonpath={.status.conditions}", "condition=Established"} {
		kubectl(ctx, append([]string{"wait", "--for=" + until, "--timeout=30s"}, crds...)...)
	}
}

// kubectl runs kubectl and returns what it writes.
func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return run(ctx, "kubectl", args...)
}

func run(ctx context.Context, program string, args ...string) string {
	GinkgoHelper()
	command := exec.CommandContext(ctx, program, args...)
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), "%s %s: %s%s", program, strings.Join(args, " "), output, &complaints)
	return string(output)
}
