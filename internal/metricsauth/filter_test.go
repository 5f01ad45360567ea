package metricsauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
)

// reviews answers for the API server: it knows tokens that begin with "of-", and allows "of-prometheus…" to read.
type reviews struct {
	tokens, access atomic.Int64
	silent         atomic.Bool
}

func (r *reviews) filter(t *testing.T) http.Handler {
	t.Helper()
	clients := fake.NewClientset()
	clients.PrependReactor("create", "tokenreviews", func(action clientgotesting.Action) (bool, runtime.Object, error) {
		r.tokens.Add(1)
		if r.silent.Load() {
			return true, nil, fmt.Errorf("no answer")
		}
		review := action.(clientgotesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		name, known := strings.CutPrefix(review.Spec.Token, "of-")
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: known, User: authenticationv1.UserInfo{Username: name}}
		return true, review, nil
	})
	clients.PrependReactor("create", "subjectaccessreviews",
		func(action clientgotesting.Action) (bool, runtime.Object, error) {
			r.access.Add(1)
			review := action.(clientgotesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
			asked := *review.Spec.NonResourceAttributes == authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
			review.Status.Allowed = asked && strings.HasPrefix(review.Spec.User, "prometheus")
			return true, review, nil
		})
	handler, err := newFilter(clients).wrap(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("metrics"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func get(handler http.Handler, authorization, source string) int {
	request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	request.RemoteAddr = source + ":1234"
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if (response.Code == http.StatusOK) != (response.Body.String() == "metrics") {
		return -1
	}
	return response.Code
}

func TestWhoMayRead(t *testing.T) {
	for name, row := range map[string]struct {
		authorization string
		status        int
	}{
		"nobody":               {"", http.StatusUnauthorized},
		"another scheme":       {"Basic of-prometheus", http.StatusUnauthorized},
		"an empty token":       {"Bearer ", http.StatusUnauthorized},
		"a token without end":  {"Bearer of-prometheus" + strings.Repeat("x", maxToken), http.StatusUnauthorized},
		"an unknown token":     {"Bearer garbage", http.StatusUnauthorized},
		"who may not":          {"Bearer of-tenant", http.StatusForbidden},
		"who may":              {"Bearer of-prometheus", http.StatusOK},
		"who may, in a prefix": {"Bearer  of-prometheus", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(get((&reviews{}).filter(t), row.authorization, "10.0.0.1")).To(Equal(row.status))
		})
	}
}

func TestAnAnswerIsRememberedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := NewWithT(t), &reviews{}
		handler := r.filter(t)
		for range 100 {
			g.Expect(get(handler, "Bearer of-prometheus", "10.0.0.1")).To(Equal(http.StatusOK))
			g.Expect(get(handler, "Bearer garbage", "10.0.0.2")).To(Equal(http.StatusUnauthorized))
			g.Expect(get(handler, "Bearer of-tenant", "10.0.0.3")).To(Equal(http.StatusForbidden))
		}
		g.Expect(r.tokens.Load()).To(BeEquivalentTo(3))
		g.Expect(r.access.Load()).To(BeEquivalentTo(2))
		time.Sleep(acceptedTTL + time.Second)
		r.silent.Store(true)
		g.Expect(get(handler, "Bearer of-prometheus", "10.0.0.1")).To(Equal(http.StatusServiceUnavailable))
		r.silent.Store(false)
		g.Expect(get(handler, "Bearer of-prometheus", "10.0.0.1")).To(Equal(http.StatusOK), "no answer is not remembered")
	})
}

// Whoever reaches the port can invent tokens.
func TestAFloodOfTokensCostsFewReviewsAndHoldsUpNoScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, r := NewWithT(t), &reviews{}
		handler := r.filter(t)
		g.Expect(get(handler, "Bearer of-prometheus", "10.0.0.1")).To(Equal(http.StatusOK))
		const seconds = 60
		for second := range seconds {
			for i := range 1000 {
				token := fmt.Sprintf("Bearer garbage-%d-%d", second, i)
				g.Expect(get(handler, token, fmt.Sprintf("10.0.%d.%d", 1+i%4, i%250))).To(
					BeElementOf(http.StatusUnauthorized, http.StatusTooManyRequests))
			}
			g.Expect(get(handler, "Bearer of-prometheus", "10.0.1.1")).To(Equal(http.StatusOK))
			time.Sleep(time.Second)
		}
		g.Expect(r.tokens.Load()).To(BeNumerically("<=", inAll*seconds+inAllBurst+seconds/60+2))

		before := r.tokens.Load()
		for i := range 1000 {
			get(handler, fmt.Sprintf("Bearer other-%d", i), "10.9.9.9")
		}
		g.Expect(r.tokens.Load() - before).To(BeNumerically("<=", perSourceBurst))
	})
}
