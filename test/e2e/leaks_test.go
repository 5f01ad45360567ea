package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/test/canary"
)

// The end of every run, whatever was selected and in whatever order: nothing is left on the node, and no secret lies
// anywhere but in Vault, in the pods' volumes (gone by now) and, tokens only, in the Secrets that the specs made.
var _ = AfterSuite(func(ctx SpecContext) {
	if !prepared {
		return // BeforeSuite has said why, and no spec ran
	}
	By("looking for volumes that are left on the node")
	// Neither keeps the search from being made.
	left := []error{
		InterceptGomegaFailure(func() { expectNoNamespaces(ctx) }),
		InterceptGomegaFailure(func() {
			Eventually(ctx, volumesLeft).WithTimeout(soon).Should(BeEmpty(), "volumes whose pods are gone")
		}),
		InterceptGomegaFailure(expectQuietLogs),
	}

	By("showing that the search finds what is there")
	keepMetrics(ctx)
	keepObjects(ctx, systemNamespace)
	finder := scanner(canary.Value{Name: "control", Text: control})
	for place, searched := range map[string][]string{"etcd": {paths.etcd()}, "audit log": auditLogs(), "pod logs": {evidence}} {
		Expect(scan(finder, searched, nil).Findings).NotTo(BeEmpty(), "the control in %s", place)
	}

	kept := append([]string{evidence, filepath.Dir(volumesDir)}, logs()...)
	By("searching all that the node's programs wrote for secret values")
	found := find(canaries.everywhere(), []string{paths.cluster}, []string{paths.vault()})
	By("searching all that Sallyport and the node's programs said for accessors of tokens and for digests")
	found = append(found, find(canaries.unspoken(), kept, nil)...)
	By("searching all but what Vault wrote for IDs of leases")
	vaultLog := filepath.Join(paths.logs(), "vault.log")
	found = append(found, find(canaries.leases, append(kept, paths.cluster), []string{paths.vault(), vaultLog})...)
	By("searching for tokens of Vault outside the users' Secrets")
	found = append(found, find(canaries.tokens, kept, nil)...)
	found = append(found, tokensOutsideSecrets()...)
	By("searching for tokens of service accounts")
	prefix := canary.Value{Name: "a service account token", Text: tokenPrefix(ctx)}
	found = append(found, find([]canary.Value{prefix}, append(kept, paths.etcd()), nil)...)
	Expect(found).To(BeEmpty(), "secrets that lie where none may be")
	Expect(errors.Join(left...)).NotTo(HaveOccurred())
}, NodeTimeout(5*time.Minute))

// expectNoNamespaces waits until the cluster has finished deleting the specs' namespaces.
func expectNoNamespaces(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) []string {
		list := &corev1.NamespaceList{}
		g.Expect(api.List(ctx, list)).To(Succeed())
		var left []string
		for i := range list.Items {
			if strings.HasPrefix(list.Items[i].Name, "e2e-") {
				left = append(left, list.Items[i].Name)
			}
		}
		return left
	}).WithTimeout(2*time.Minute).WithPolling(time.Second).Should(BeEmpty(), "namespaces of the specs")
}

// logs are the logs of the node's programs. The audit log holds the users' Secrets and the tokens that the API server
// made.
func logs() []string {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(paths.logs(), "*.log"))
	Expect(err).NotTo(HaveOccurred())
	var logs []string
	for _, file := range files {
		if !strings.HasPrefix(filepath.Base(file), "audit") {
			logs = append(logs, file)
		}
	}
	Expect(logs).To(ContainElements(HaveSuffix("/kubelet.log"), HaveSuffix("/kube-apiserver.log"), HaveSuffix("/containerd.log")))
	return logs
}

func auditLogs() []string {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(paths.logs(), "audit*.log"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).NotTo(BeEmpty(), "audit logs")
	return files
}

func scanner(values ...canary.Value) *canary.Scanner {
	GinkgoHelper()
	s, err := canary.New(values...)
	Expect(err).NotTo(HaveOccurred())
	return s
}

func scan(s *canary.Scanner, paths, except []string) *canary.Report {
	GinkgoHelper()
	started := time.Now()
	report, err := s.Scan(paths, except)
	Expect(err).NotTo(HaveOccurred())
	Expect(report.Files).To(BeNumerically(">", 0))
	GinkgoWriter.Printf("searched %d files (%.0f MB) in %s\n", report.Files, float64(report.Bytes)/1e6, time.Since(started).Round(time.Millisecond))
	return report
}

// find searches for values and says where it found which.
func find(values []canary.Value, paths, except []string) []string {
	GinkgoHelper()
	if len(values) == 0 {
		return nil
	}
	report := scan(scanner(values...), paths, except)
	found, files := []string{}, []string{}
	for _, f := range report.Findings {
		found, files = append(found, f.String()), append(files, f.File)
	}
	// The marker says that a value was found, not which.
	if named := canaries.named(); len(found) > 0 && len(named) > 0 {
		for _, f := range scan(scanner(named...), files, nil).Findings {
			found = append(found, f.String())
		}
	}
	return found
}

// tokensOutsideSecrets looks at each request in the audit log that a Vault token occurs in: it must be one for a
// Secret.
func tokensOutsideSecrets() []string {
	GinkgoHelper()
	var needles [][]byte
	for _, token := range canaries.tokens {
		needles = append(needles, []byte(token.Text), []byte(base64.StdEncoding.EncodeToString([]byte(token.Text))))
	}
	var outside []string
	inside := 0
	for _, file := range auditLogs() {
		f, err := os.Open(file)
		Expect(err).NotTo(HaveOccurred())
		lines := bufio.NewReader(f)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			if !slices.ContainsFunc(needles, func(needle []byte) bool { return bytes.Contains(line, needle) }) {
				continue
			}
			var entry struct {
				Verb, RequestURI string
				ObjectRef        struct{ Resource string }
			}
			Expect(json.Unmarshal(line, &entry)).To(Succeed())
			if entry.ObjectRef.Resource == "secrets" {
				inside++
			} else {
				outside = append(outside, fmt.Sprintf("%s: a Vault token in the request %s %s", file, entry.Verb, entry.RequestURI))
			}
		}
		Expect(f.Close()).To(Succeed())
	}
	if len(needles) > 0 {
		Expect(inside).To(BeNumerically(">", 0), "tokens in the requests for the specs' Secrets")
	}
	return outside
}

// tokenPrefix is how every service account token of this cluster begins: the header, with the signing key's name.
func tokenPrefix(ctx context.Context) string {
	GinkgoHelper()
	header, _, found := strings.Cut(serviceAccountToken(ctx, "default", "default", "canary", nil), ".")
	Expect(found).To(BeTrue())
	return header
}

// serviceAccountToken makes a token, bound to a pod if one is given. No audience means the API server's.
func serviceAccountToken(ctx context.Context, namespace, name, audience string, pod *corev1.Pod) string {
	GinkgoHelper()
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	Expect(api.SubResource("token").Create(ctx, account, request)).To(Succeed(), "a token of %s", client.ObjectKeyFromObject(account))
	return request.Status.Token
}
