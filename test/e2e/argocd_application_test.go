package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

const (
	annotationWave         = "argocd.argoproj.io/sync-wave"
	annotationHook         = "argocd.argoproj.io/hook"
	annotationDeletePolicy = "argocd.argoproj.io/hook-delete-policy"
)

// application is an Application of Argo CD, with a git repository of its own that holds plain manifests.
type application struct {
	name       string
	repository string
	revision   string // of the last commit
}

// repositories is where they are, for as long as Argo CD runs.
var repositories string

// applicationStatus is what the specs look at.
type applicationStatus struct {
	Sync       struct{ Status, Revision string }
	Health     struct{ Status string }
	Conditions []struct{ Type, Message string }
	Resources  []struct {
		Kind, Name, Status string
		Hook               bool
		Health             struct{ Status, Message string }
	}
	OperationState struct {
		Phase, Message, StartedAt string
		Operation                 struct{ InitiatedBy struct{ Username string } }
		SyncResult                struct {
			Revision  string
			Resources []struct{ Kind, Name, Status, Message, HookPhase string }
		}
	}
}

// messages are all that the last operation has to say.
func (s *applicationStatus) messages() string {
	all := []string{s.OperationState.Message}
	for _, resource := range s.OperationState.SyncResult.Resources {
		all = append(all, resource.Kind+" "+resource.Name+": "+resource.Message)
	}
	return strings.Join(all, "\n")
}

func argoKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: kind}
}

// automated is the sync policy of who leaves everything to Argo CD: what differs from git is set back at once.
func automated(options ...any) map[string]any {
	return map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}, "syncOptions": options}
}

// newApplication commits manifests to a repository, and has a project's account apply them to a namespace: at every
// change with the policy "automated", and without a policy when sync is called.
func newApplication(ctx context.Context, project, name, namespace, manifests string, policy map[string]any) *application {
	GinkgoHelper()
	a := &application{name: name, repository: filepath.Join(repositories, name)}
	Expect(os.MkdirAll(a.repository, 0o700)).To(Succeed())
	a.git(ctx, "init", "--quiet", "--initial-branch", "main")
	a.commit(ctx, manifests)
	object := a.object()
	object.Object["spec"] = map[string]any{
		"project":     project,
		"source":      map[string]any{"repoURL": "file://" + a.repository, "targetRevision": "main", "path": "manifests"},
		"destination": map[string]any{"server": argoCluster, "namespace": namespace},
	}
	if policy != nil {
		object.Object["spec"].(map[string]any)["syncPolicy"] = policy
	}
	create(ctx, object)
	a.see(ctx)
	return a
}

func (a *application) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(argoKind("Application"))
	object.SetNamespace(argoNamespace)
	object.SetName(a.name)
	return object
}

func (a *application) git(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return strings.TrimSpace(run(ctx, "git", append([]string{"-C", a.repository, "-c", "user.name=e2e", "-c", "user.email=e2e@example.com"}, args...)...))
}

// commit replaces all manifests.
func (a *application) commit(ctx context.Context, manifests string) {
	GinkgoHelper()
	file := filepath.Join(a.repository, "manifests", "all.yaml")
	Expect(os.MkdirAll(filepath.Dir(file), 0o700)).To(Succeed())
	Expect(os.WriteFile(file, []byte(manifests), 0o600)).To(Succeed())
	a.git(ctx, "add", "--all")
	a.git(ctx, "commit", "--quiet", "--message", "change")
	a.revision = a.git(ctx, "rev-parse", "HEAD")
}

// change commits manifests, and waits until Argo CD has seen the commit.
func (a *application) change(ctx context.Context, manifests string) {
	GinkgoHelper()
	a.commit(ctx, manifests)
	a.see(ctx)
}

// see waits until Argo CD has compared the last commit.
func (a *application) see(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		a.refresh(ctx)
		g.Expect(a.status(ctx).Sync.Revision).To(Equal(a.revision))
	}).WithTimeout(eventual).Should(Succeed(), "the last commit of %s", a.name)
}

// refresh has Argo CD render and compare everything anew, and waits until it has.
func (a *application) refresh(ctx context.Context) {
	GinkgoHelper()
	a.askForRefresh(ctx)
	a.expectRefreshed(ctx)
}

func (a *application) askForRefresh(ctx context.Context) {
	GinkgoHelper()
	a.patch(ctx, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard"}}}`)
}

func (a *application) expectRefreshed(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		object := a.object()
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		g.Expect(object.GetAnnotations()).NotTo(HaveKey("argocd.argoproj.io/refresh"))
	}).WithTimeout(eventual).Should(Succeed(), "refresh of %s", a.name)
}

// sync starts a synchronization with the last commit, as a person does.
func (a *application) sync(ctx context.Context, options ...string) {
	GinkgoHelper()
	a.syncAs(ctx, "e2e", options...)
}

func (a *application) syncAs(ctx context.Context, user string, options ...string) {
	GinkgoHelper()
	sync, err := json.Marshal(map[string]any{"prune": true, "revision": a.revision, "syncOptions": options})
	Expect(err).NotTo(HaveOccurred())
	a.patch(ctx, `{"operation":{"initiatedBy":{"username":"`+user+`"},"sync":`+string(sync)+`}}`)
}

func (a *application) patch(ctx context.Context, patch string) {
	GinkgoHelper()
	Expect(api.Patch(ctx, a.object(), client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

func (a *application) status(ctx context.Context) *applicationStatus {
	GinkgoHelper()
	object := a.object()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	var decoded struct{ Status applicationStatus }
	content, err := json.Marshal(object.Object)
	Expect(err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(content, &decoded)).To(Succeed())
	return &decoded.Status
}

// expectOperation waits until the operation with the last commit is in a phase, and all that it says matches.
func (a *application) expectOperation(ctx context.Context, phase string, message OmegaMatcher) *applicationStatus {
	GinkgoHelper()
	var status *applicationStatus
	Eventually(ctx, func(g Gomega) {
		status = a.status(ctx)
		g.Expect(status.OperationState.SyncResult.Revision).To(Equal(a.revision), "%+v", status)
		g.Expect(status.OperationState.Phase).To(Equal(phase), status.messages())
		g.Expect(status.messages()).To(message)
	}).WithTimeout(atLast).Should(Succeed(), "operation of %s", a.name)
	return status
}

// expectSynced waits until everything of the last commit is applied and healthy.
func (a *application) expectSynced(ctx context.Context) *applicationStatus {
	GinkgoHelper()
	var status *applicationStatus
	Eventually(ctx, func(g Gomega) {
		status = a.status(ctx)
		g.Expect(status.wrong()).To(BeEmpty())
		g.Expect(status.Sync.Revision).To(Equal(a.revision))
	}).WithTimeout(atLast).Should(Succeed(), "application %s", a.name)
	return status
}

// wrong is why the application is not Synced and Healthy, by resource.
func (s *applicationStatus) wrong() []string {
	var wrong []string
	if s.Sync.Status != "Synced" || s.Health.Status != "Healthy" {
		wrong = append(wrong, s.Sync.Status+", "+s.Health.Status)
	}
	for _, c := range s.Conditions {
		wrong = append(wrong, c.Type+": "+c.Message)
	}
	for _, r := range s.Resources {
		if !r.Hook && r.Status != "Synced" || r.Health.Status != "" && r.Health.Status != "Healthy" {
			wrong = append(wrong, r.Kind+" "+r.Name+": "+r.Status+", "+r.Health.Status+" "+r.Health.Message)
		}
	}
	return wrong
}

// manifests are objects as they stand in git.
func manifests(objects ...client.Object) string {
	GinkgoHelper()
	var text strings.Builder
	for _, object := range objects {
		kind, err := apiutil.GVKForObject(object, api.Scheme())
		Expect(err).NotTo(HaveOccurred())
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		Expect(err).NotTo(HaveOccurred())
		content["apiVersion"], content["kind"] = kind.ToAPIVersionAndKind()
		delete(content, "status")
		document, err := yaml.Marshal(content)
		Expect(err).NotTo(HaveOccurred())
		text.WriteString("---\n" + string(document))
	}
	return text.String()
}

// annotated adds an annotation to an object for git.
func annotated[T client.Object](object T, annotations ...string) T {
	all := object.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	for i := 0; i < len(annotations); i += 2 {
		all[annotations[i]] = annotations[i+1]
	}
	object.SetAnnotations(all)
	return object
}
