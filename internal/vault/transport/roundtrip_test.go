package transport

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestRequestLine(t *testing.T) {
	g := NewWithT(t)
	for name, value := range map[string]string{
		"VAULT_TOKEN": "hvs.env", "VAULT_NAMESPACE": "env", "VAULT_WRAP_TTL": "1m", "VAULT_RATE_LIMIT": "bad",
	} {
		t.Setenv(name, value)
	}
	api, err := newAPI("https://vault:8200", http.DefaultClient)
	g.Expect(err).NotTo(HaveOccurred())
	c := &Conn{transport: &Transport{Config: Config{Address: "https://vault:8200"}, api: api}, namespace: "team-a"}
	tok := NewToken("hvs.x")
	apiRequest, err := c.build(Request{Method: http.MethodGet, Path: "secret/data/a b?c#d%2f/ü", Token: &tok})
	g.Expect(err).NotTo(HaveOccurred())
	built, err := apiRequest.ToHTTP()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(built.URL.String()).To(Equal("https://vault:8200/v1/secret/data/a%20b%3Fc%23d%252f/%C3%BC"))
	g.Expect(built.Header).To(Equal(http.Header{
		"X-Vault-Request":   {"true"},
		"X-Vault-Token":     {"hvs.x"},
		"X-Vault-Namespace": {"team-a"},
		"User-Agent":        {"sallyport"},
	}))

	belowAPath, err := newAPI("https://gw/vault", http.DefaultClient)
	g.Expect(err).NotTo(HaveOccurred())
	below := &Conn{transport: &Transport{Config: Config{Address: "https://gw/vault"}, api: belowAPath}, namespace: "team-a"}
	apiRequest, err = below.build(Request{Method: http.MethodGet, Path: "secret/data/a b", Query: url.Values{"version": {"3"}}})
	g.Expect(err).NotTo(HaveOccurred())
	built, err = apiRequest.ToHTTP()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(built.URL.String()).To(Equal("https://gw/vault/v1/secret/data/a%20b?version=3"))

	c.transport.Headers = newHeaders([]header{{"x-tenant", NewToken("shop")}, {"X-Key", NewToken("a b")}})
	for _, r := range []Request{
		{Method: http.MethodGet, Path: "sys/health"}, {Method: http.MethodPost, Path: "auth/jwt/login", Body: "x"},
	} {
		apiRequest, err = c.build(r)
		g.Expect(err).NotTo(HaveOccurred())
		built, err = apiRequest.ToHTTP()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([]string{built.Header.Get("X-Tenant"), built.Header.Get("X-Key")}).To(Equal([]string{"shop", "a b"}), r.Path)
	}
	c.transport.Headers = Headers{}
	apiRequest, err = c.build(Request{Method: http.MethodGet, Path: "x"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(apiRequest.Headers).NotTo(HaveKey("X-Tenant"), "what one request had stays nowhere")

	elsewhere, err := c.build(Request{Method: http.MethodGet, Path: "x", Namespace: "team-b"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(elsewhere.Headers.Get("X-Vault-Namespace")).To(Equal("team-b"), "a login may go to another namespace")

	_, err = c.build(Request{Method: http.MethodPost, Path: "x", Body: map[string]any{"value": unencodable{}}})
	g.Expect(err).To(MatchError("POST x: the data cannot be encoded as JSON"))
}

// unencodable fails with an error that quotes what it holds.
type unencodable struct{}

func (unencodable) MarshalJSON() ([]byte, error) { return nil, &http.MaxBytesError{} }

// FuzzDecode: whatever comes back, it is Vault's response or a described fault that quotes nothing of it.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `"x"`, `{"errors":[]}`, `{"errors":["no"]}`, `{"errors":"no"}`, `<html>`,
		`{"request_id":"1","data":{"a":1e999}}`,
		`{"request_id":"1","data":{"data":null,"metadata":{"version":1,"deletion_time":"x","destroyed":1}}}`, `{"request_id":1}`, `{"initialized":true}`,
	} {
		f.Add(404, "application/json", []byte(body))
		f.Add(400, "text/plain", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		g := NewWithT(t)
		sent, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://vault/v1/x", http.NoBody)
		g.Expect(err).NotTo(HaveOccurred())
		answered := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Request: sent}
		var response Response
		err = decode(answered, body, &response)
		if err == nil {
			g.Expect(response.RequestID != "" || response.Errors != nil).To(BeTrue())
			return
		}
		if text := strings.TrimSpace(string(body)); len(text) > 20 {
			g.Expect(err.Error()).NotTo(ContainSubstring(text))
		}
		_ = decode(answered, body, &healthResponse{})
	})
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "7": 7 * time.Second, "99999999999": 0, "86400": maxPause,
		"Wed, 21 Oct 2026 07:28:00 GMT": 0, "soon": 0,
	} {
		got := newResponseMeta(
			&http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {value}}},
		)
		if value == "99999999999" {
			want = maxPause
		}
		NewWithT(t).Expect(got.retryAfter).To(Equal(want), "%q", value)
	}
}
