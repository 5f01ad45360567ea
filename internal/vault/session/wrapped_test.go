package session

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/test/builder"
)

// wrapping is a Vault with wrapping tokens of secret IDs, each of which is good for one login, and as many as are wanted.
type wrapping struct {
	*Sessions
	t   *testing.T
	url string

	mu sync.Mutex
	// made are the wrapping tokens that were not opened yet, with the path that made each.
	made map[string]string
	// asked are the requests, in order.
	asked []string
}

func startWrapping(t *testing.T) *wrapping {
	t.Helper()
	w := &wrapping{t: t, made: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.restart()
	return w
}

// restart forgets what the process knows.
func (w *wrapping) restart() {
	w.t.Helper()
	var err error
	w.Sessions, err = NewSessions(Options{Reader: fake.NewClientBuilder().Build(), AllowedURLs: []string{w.url}})
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
}

func (w *wrapping) serve(response http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	body := map[string]string{}
	raw, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(raw, &body)
	response.Header().Set("Content-Type", "application/json")
	refuse := func() {
		response.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(response, `{"errors":["no"]}`)
	}
	switch r.URL.Path {
	case "/v1/sys/wrapping/lookup":
		w.asked = append(w.asked, "lookup "+body["token"])
		if path, found := w.made[body["token"]]; found {
			_, _ = fmt.Fprintf(response, `{"request_id":"r","data":{"creation_path":%q}}`, path)
			return
		}
		refuse()
	case "/v1/sys/wrapping/unwrap":
		token := r.Header.Get("X-Vault-Token")
		w.asked = append(w.asked, "unwrap "+token)
		delete(w.made, token)
		_, _ = fmt.Fprintf(response, `{"request_id":"r","data":{"secret_id":"in %s"}}`, token)
	case "/v1/auth/approle/login":
		w.asked = append(w.asked, "login "+body["role_id"]+" "+body["secret_id"])
		if body["role_id"] != "right" {
			refuse()
			return
		}
		_, _ = io.WriteString(response, `{"request_id":"r","auth":{"client_token":"t","lease_duration":3600,"renewable":true}}`)
	default:
		_, _ = io.WriteString(response, `{"request_id":"r","data":{}}`)
	}
}

func (w *wrapping) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

// use a Connection once, as an attempt of a VaultTask does.
func (w *wrapping) use(uid types.UID, roleID, secretID string) error {
	w.t.Helper()
	config := builder.VaultConfig("shop", "x", builder.WithURL(w.url), func(c *v1alpha1.VaultConfig) { c.UID, c.Kind = uid, "Connection" })
	var err error
	var credentials map[string]string
	config.Spec.Auth, credentials, err = auth.FromConnection(types.NamespacedName{Namespace: "shop", Name: "x"}, func(key string) string {
		return map[string]string{"roleID": roleID, "secretID": secretID, "secretIDWrapped": "true"}[key]
	})
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	_, done, err := w.Ephemeral(w.t.Context(), config, credentials)
	if err == nil {
		done()
	}
	return err
}

const (
	secretIDPath = "auth/approle/role/app/secret-id"
	wrappedThere = `Connection shop/x, key "secretID"`
	usedUp       = "no wrapping token in " + wrappedThere + " works: each has expired or was used before, by the controller before its " +
		"last start or by somebody else (Connection shop/x, auth appRole); put a new wrapping token into " + wrappedThere +
		"; if it was not the controller, see in Vault's audit log who unwrapped it, and have the secret ID that was in it destroyed"
)

func TestAWrappedSecretIDOfAConnectionOutlivesTheSession(t *testing.T) {
	g := NewWithT(t)
	w := startWrapping(t)
	w.made["w1"] = secretIDPath
	g.Expect(w.use("c", "right", "w1\n")).To(Succeed())
	g.Expect(w.requests()).To(Equal([]string{"lookup w1", "unwrap w1", "login right in w1"}))
	g.Expect(w.use("c", "right", "w1\n")).To(Succeed())
	g.Expect(w.requests()).To(Equal([]string{"login right in w1"}))

	// Another Connection of that name, which may be somebody else's.
	err := w.use("d", "right", "w1")
	g.Expect(err).To(MatchError(usedUp))
	g.Expect(fault.Is(err, v1alpha1.ReasonAuthFailed)).To(BeTrue())
	g.Expect(w.requests()).To(Equal([]string{"lookup w1"}))

	// The next wrapping token is opened when it is needed.
	w.made["w2"] = secretIDPath
	g.Expect(w.use("c", "right", "w1 w2")).To(Succeed())
	g.Expect(w.requests()).To(Equal([]string{"login right in w1"}))
	w.restart()
	g.Expect(w.use("c", "right", "w1")).To(MatchError(usedUp))
	g.Expect(w.use("c", "right", "w1 w2")).To(Succeed())
	w.requests()

	w.Forget("c")
	g.Expect(w.use("c", "right", "w1 w2")).To(MatchError(usedUp))
}

func TestAWrappingTokenFromElsewhereIsNotOpened(t *testing.T) {
	g := NewWithT(t)
	w := startWrapping(t)
	for n, path := range []string{
		"auth/other/role/app/secret-id", "auth/approle/role/app/custom-secret-id", "auth/approle/role/a/b/secret-id", "sys/wrapping/wrap",
	} {
		token := fmt.Sprint("w", n)
		w.made[token] = path
		g.Expect(w.use("c", "right", token)).To(MatchError("a wrapping token in " + wrappedThere + " does not come from " +
			"auth/approle/role/NAME/secret-id (Connection shop/x, auth appRole); put a new wrapping token into " + wrappedThere))
		g.Expect(w.requests()).To(Equal([]string{"lookup " + token}))
	}
}

func TestAWrongRoleIDCostsNoWrappingToken(t *testing.T) {
	g := NewWithT(t)
	w := startWrapping(t)
	w.made["w1"] = secretIDPath
	g.Expect(w.use("c", "wrong", "w1")).To(MatchError(HavePrefix("POST auth/approle/login → 400 there is no such role ID, or the secret ID is wrong")))
	w.requests()
	g.Expect(w.use("c", "wrong", "w1")).To(MatchError(ContainSubstring("put a new wrapping token into "+wrappedThere)), "it is not offered again")
	g.Expect(w.requests()).To(BeEmpty())
	g.Expect(w.use("c", "right", "w1")).To(Succeed())
	g.Expect(w.requests()).To(Equal([]string{"login right in w1"}))
}

// TestLoginsWithOneWrappingTokenWaitForEachOther: the second would find it used.
func TestLoginsWithOneWrappingTokenWaitForEachOther(t *testing.T) {
	g := NewWithT(t)
	w := startWrapping(t)
	w.made["w1"] = secretIDPath
	var all sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		all.Go(func() { errs[n] = w.use("c", "right", fmt.Sprintf("w1%*s", n, "")) }) // each a session of its own
	}
	all.Wait()
	g.Expect(errs).To(HaveEach(Succeed()))
}
