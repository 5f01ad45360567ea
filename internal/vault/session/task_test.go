package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubernetesfake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

// shared is a VaultConfig with workload: true for many namespaces, at a Vault that makes each login a token of its own.
type shared struct {
	*Sessions
	t      *testing.T
	config *v1alpha1.VaultConfig
	clock  *clocktesting.FakePassiveClock

	mu sync.Mutex
	// made are the service account tokens that were made, as namespace/name for audience, for seconds.
	made []string
	// logins are the service account tokens that were sent, in order; the token that Vault gives is the login's number.
	logins []string
	// revoked are the tokens that were.
	revoked []string
}

func startShared(t *testing.T) *shared {
	t.Helper()
	s := &shared{t: t, clock: clocktesting.NewFakePassiveClock(time.Now())}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	clients := kubernetesfake.NewClientset()
	clients.PrependReactor("create", "serviceaccounts", s.makeToken)
	clients.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.TokenReview{}, nil // no audience of the API server's
	})
	var err error
	s.Sessions, err = NewSessions(Options{
		Reader: fake.NewClientBuilder().Build(), Kubernetes: clients, AllowedURLs: []string{server.URL}, Clock: s.clock,
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	s.config = builder.VaultConfig("platform", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
		c.UID, c.Generation = "config", 1
		c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{
			Role: "any", Workload: new(true), WorkloadScope: v1alpha1.WorkloadScopeAllowedNamespaces,
		}}
	})
	return s
}

func (s *shared) makeToken(action clienttesting.Action) (bool, runtime.Object, error) {
	create, is := action.(clienttesting.CreateActionImpl)
	if !is || create.Subresource != "token" {
		return false, nil, nil
	}
	request, is := create.Object.(*authenticationv1.TokenRequest)
	if !is {
		return false, nil, nil
	}
	account := create.Namespace + "/" + create.Name
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, fmt.Sprintf("%s for %s, %d s, bound to %v",
		account, strings.Join(request.Spec.Audiences, "+"), *request.Spec.ExpirationSeconds, request.Spec.BoundObjectRef))
	answer := request.DeepCopy()
	answer.Status.Token = "made for " + account
	return true, answer, nil
}

func (s *shared) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/v1/auth/kubernetes/login":
		login := struct{ JWT string }{}
		if json.Unmarshal(body, &login) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.logins = append(s.logins, login.JWT)
		_, _ = fmt.Fprintf(w, `{"request_id":"r","auth":{"client_token":"t%d","lease_duration":3600,"renewable":true}}`, len(s.logins))
	case "/v1/auth/token/revoke-self":
		s.revoked = append(s.revoked, r.Header.Get("X-Vault-Token"))
		w.WriteHeader(http.StatusNoContent)
	default:
		_, _ = fmt.Fprintf(w, `{"request_id":"r","data":{"token":%q}}`, r.Header.Get("X-Vault-Token"))
	}
}

func (s *shared) revocations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.revoked)
}

// as returns the session of a workload.
func (s *shared) as(workload *auth.Workload) *Session {
	s.t.Helper()
	session, err := s.ForWorkload(s.t.Context(), s.config, workload)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	return session
}

// sends is the token that a session's requests have.
func (s *shared) sends(session *Session) string {
	s.t.Helper()
	var sent string
	NewWithT(s.t).Expect(session.Do(s.t.Context(), func(ctx context.Context, c *Conn) error {
		response, err := c.Call(ctx, transport.Request{Method: http.MethodGet, Path: "secret/x"})
		if err == nil {
			sent = fmt.Sprint(response.Data["token"])
		}
		return err
	})).To(Succeed())
	return sent
}

func task(namespace, account string, uid types.UID) *auth.Workload {
	return &auth.Workload{Namespace: namespace, ServiceAccount: account, Task: uid}
}

func TestAVaultTaskSharesItsLoginWithNobody(t *testing.T) {
	g := NewWithT(t)
	s := startShared(t)
	pod := &auth.Workload{
		Namespace: "a", ServiceAccount: "app",
		Token: func(context.Context, string) (string, error) { return "brought by a pod of a/app", nil },
	}
	everybody := []*auth.Workload{
		task("a", "app", "one"),
		task("b", "app", "two"),   // the same name in another namespace
		task("a", "other", "six"), // another account of the namespace
		task("a", "app", "four"),  // another task of the same account
		pod,
	}
	tokens, sessions := map[string]bool{}, map[*Session]bool{}
	for _, who := range everybody {
		session := s.as(who)
		sessions[session], tokens[s.sends(session)] = true, true
		g.Expect(session.WorkloadKey()).To(Equal(who.Namespace + "/" + who.ServiceAccount))
		g.Expect(session.Actor()).To(HaveSuffix(" as " + session.WorkloadKey()))
	}
	g.Expect(sessions).To(HaveLen(len(everybody)))
	g.Expect(tokens).To(HaveLen(len(everybody)))
	g.Expect(s.logins).To(Equal([]string{
		"made for a/app", "made for b/app", "made for a/other", "made for a/app", "brought by a pod of a/app",
	}))
	g.Expect(s.made).To(HaveEach(HaveSuffix(" for vault, 600 s, bound to nil")))

	// Each finds its own again.
	for n, who := range everybody {
		g.Expect(s.sends(s.as(who))).To(Equal(fmt.Sprint("t", n+1)))
	}
	g.Expect(s.logins).To(HaveLen(len(everybody)))

	// A task that names another service account, as if it could, has another login.
	g.Expect(s.sends(s.as(task("b", "app", "one")))).To(Equal("t6"))
	g.Expect(s.logins[5]).To(Equal("made for b/app"))
}

func TestTheTokensOfAVaultTaskAreRevokedWhenItIsOver(t *testing.T) {
	g := NewWithT(t)
	s := startShared(t)
	pod := &auth.Workload{
		Namespace: "a", ServiceAccount: "app", Token: func(context.Context, string) (string, error) { return "pod", nil },
	}
	g.Expect(s.sends(s.as(task("a", "app", "one")))).To(Equal("t1"))
	g.Expect(s.Draining(types.NamespacedName{Namespace: "platform", Name: "main"}, VaultOf(s.config),
		types.NamespacedName{Namespace: "a", Name: "app"})).To(BeNil(), "leases of pods are no matter of its")
	g.Expect(s.sends(s.as(task("a", "app", "two")))).To(Equal("t2"))
	g.Expect(s.sends(s.as(pod))).To(Equal("t3"))
	s.Forget("one")
	g.Eventually(s.revocations).Should(Equal([]string{"t1"}))
	g.Expect(s.sends(s.as(task("a", "app", "two")))).To(Equal("t2"))
	g.Expect(s.sends(s.as(pod))).To(Equal("t3"))

	// One whose token something depends on that was handed out.
	s.as(task("a", "app", "two")).LeaveToken()
	s.Forget("two")
	g.Expect(s.sends(s.as(task("a", "app", "five")))).To(Equal("t4"))

	// One that waits for so long that it is better forgotten.
	s.clock.SetTime(s.clock.Now().Add(idleTime))
	s.as(pod)
	s.DropIdle()
	g.Eventually(s.revocations).Should(Equal([]string{"t1", "t4"}))

	// One whose VaultConfig is gone.
	g.Expect(s.sends(s.as(task("a", "app", "six")))).To(Equal("t5"))
	s.Forget(s.config.UID)
	g.Eventually(s.revocations).Should(ConsistOf("t1", "t4", "t5", "t3"))
}

// TestTheLimitsOfAServiceAccountAreForItsVaultTasksTogether: many tasks may not ask more of Vault than one.
func TestTheLimitsOfAServiceAccountAreForItsVaultTasksTogether(t *testing.T) {
	g := NewWithT(t)
	s := startShared(t)
	one, two := s.as(task("a", "app", "one")), s.as(task("a", "app", "two"))
	g.Expect(one.holder.connector.limiter).To(BeIdenticalTo(two.holder.connector.limiter))
	for _, other := range []*auth.Workload{task("b", "app", "three"), task("a", "other", "four")} {
		g.Expect(s.as(other).holder.connector.limiter).NotTo(BeIdenticalTo(one.holder.connector.limiter))
	}
}

// TestForgettingNobodyForgetsNobody: who has no UID is no VaultTask.
func TestForgettingNobodyForgetsNobody(t *testing.T) {
	s := startShared(t)
	session := s.as(task("a", "app", "one"))
	pod := s.as(&auth.Workload{
		Namespace: "a", ServiceAccount: "app", Token: func(context.Context, string) (string, error) { return "pod", nil },
	})
	s.Forget("")
	g := NewWithT(t)
	g.Expect(s.as(task("a", "app", "one"))).To(BeIdenticalTo(session))
	g.Expect(s.as(&auth.Workload{Namespace: "a", ServiceAccount: "app"})).To(BeIdenticalTo(pod))
}
