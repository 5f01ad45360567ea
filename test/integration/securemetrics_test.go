package integration

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/internal/app"
	"sallyport.dev/sallyport/test/env"
)

// createFrom creates the objects of a file of config/, which are gone after the spec.
func createFrom(path string) {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join("../../config", path))
	Expect(err).NotTo(HaveOccurred())
	for text := range strings.SplitSeq(string(content), "\n---\n") {
		object := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(text), &object.Object)).To(Succeed())
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
		DeferCleanup(func() { Expect(client.IgnoreNotFound(cp.Client.Delete(ctx, object))).To(Succeed()) })
	}
}

var _ = Describe("Metrics with --metrics-secure", func() {
	It("are given, over TLS, to whom the API server allows to read them, and to nobody else", func() {
		createFrom("secure-metrics/rbac.yaml")
		address, err := env.FreeAddress()
		Expect(err).NotTo(HaveOccurred())
		secure, err := cp.StartController(ctx, "sallyport-controller-secure", log, func(o *app.ControllerOptions) {
			o.SecureMetrics, o.MetricsAddress = true, address
		})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(secure.Stop()).To(Succeed()) })
		// It listens a moment after it was started.
		Eventually(func() error {
			connection, err := net.Dial("tcp", address)
			if err == nil {
				err = connection.Close()
			}
			return err
		}).Should(Succeed())

		tokenOf := func(namespace, name string) string {
			request, err := cp.Clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			Expect(err).NotTo(HaveOccurred())
			remember(request.Status.Token)
			return request.Status.Token
		}
		scrape := func(token string) (int, string) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
			Expect(err).NotTo(HaveOccurred())
			if token != "" {
				request.Header.Set("Authorization", "Bearer "+token)
			}
			response, err := (&http.Transport{
				DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as the PodMonitor
			}).RoundTrip(request)
			Expect(err).NotTo(HaveOccurred())
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			Expect(err).NotTo(HaveOccurred())
			return response.StatusCode, string(body)
		}

		namespace := newNamespace()
		Expect(cp.Client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"}})).To(Succeed())
		tenant := tokenOf(namespace, "tenant")
		By("asking as whom config/secure-metrics lets read")
		reader := tokenOf(env.Namespace, "sallyport-metrics")
		// The roles are there a moment after they were made, and a token that is not known has few tries.
		Eventually(func(g Gomega) {
			status, body := scrape(reader)
			g.Expect(status).To(Equal(http.StatusOK), body)
			g.Expect(body).To(ContainSubstring("sallyport_objects"))
		}).Should(Succeed())
		By("asking as others")
		for token, want := range map[string]int{"": http.StatusUnauthorized, "garbage": http.StatusUnauthorized, tenant: http.StatusForbidden} {
			Eventually(func(g Gomega) {
				status, body := scrape(token)
				g.Expect(body).NotTo(ContainSubstring("sallyport_"))
				g.Expect(status).To(Equal(want), body)
			}).Should(Succeed())
		}
		By("binding another to the role")
		Expect(cp.Client.Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "metrics-" + namespace},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sallyport-metrics"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "tenant"}},
		})).To(Succeed())
		Eventually(func() int { status, _ := scrape(tenant); return status }).Should(Equal(http.StatusOK))
		By("asking with many tokens that nobody made")
		const tokens = 100
		began, answers := time.Now(), map[int]int{}
		for i := range tokens {
			status, _ := scrape(fmt.Sprint("garbage-", i))
			answers[status]++
		}
		// Five are looked at, and one in each second, however slow this machine is.
		Expect(answers[http.StatusTooManyRequests]).To(BeNumerically(">=", tokens-5-1-int(time.Since(began)/time.Second)), "%v", answers)
		status, _ := scrape(tenant)
		Expect(status).To(Equal(http.StatusOK))
		Expect(logs.String()).NotTo(ContainSubstring("garbage-"))
	})
})
