// Package metricsauth lets those read metrics whom the API server knows and allows to: a TokenReview says who the
// caller is, a SubjectAccessReview whether he may get /metrics. It takes the place of controller-runtime's filter,
// which has each unknown token reviewed, however many come, and writes a line at level error for it.
package metricsauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"sallyport.dev/sallyport/internal/flight"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// acceptedTTL and refusedTTL are how long an answer of the API server stands. A scrape comes every 30 seconds or so;
	// who loses the right to it reads for a minute longer.
	acceptedTTL = time.Minute
	refusedTTL  = 10 * time.Second
	// knownTTL is how long a token that was accepted has its reviews whatever others ask for.
	knownTTL = 10 * time.Minute
	// maxRemembered bounds the memory that each of these takes: there are a few who scrape.
	maxRemembered = 1024
	// Reviews that unknown tokens may cause each second, and at once: of a source address, and of all.
	perSource, perSourceBurst = 1, 5
	inAll, inAllBurst         = 10, 30
	maxSources                = 4096
	// reviewTime bounds the question.
	reviewTime = 10 * time.Second
	// maxToken is more than any token has.
	maxToken = 8 << 10
)

// answer is what a caller is told; the zero value lets him in.
type answer struct {
	status int
	text   string
}

var (
	nobody    = answer{http.StatusUnauthorized, "Send a token that the Kubernetes API accepts, as Bearer token"}
	forbidden = answer{http.StatusForbidden, "The token's user may not get the path /metrics: bind him to ClusterRole sallyport-metrics"}
	tooMany   = answer{http.StatusTooManyRequests, "More tokens that are not known come than are looked at now"}
	unasked   = answer{http.StatusServiceUnavailable, "The Kubernetes API did not answer whether the token may"}
)

type digest [sha256.Size]byte

// filter asks the API server who may read. What it said it remembers by a hash of the token with a key of the process.
type filter struct {
	clients kubernetes.Interface
	key     [32]byte
	// answers are those of the last moment, known the tokens that were accepted lately.
	answers, known *cache.LRUExpireCache
	flights        flight.Group[answer]
	all            *rate.Limiter
	sources        *shares.Limiters
}

// New returns what controller-runtime's server of metrics wants: what makes a filter.
func New(config *rest.Config, client *http.Client) (server.Filter, error) {
	clients, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return newFilter(clients).wrap, nil
}

func newFilter(clients kubernetes.Interface) *filter {
	f := &filter{
		clients: clients, answers: cache.NewLRUExpireCache(maxRemembered), known: cache.NewLRUExpireCache(maxRemembered),
		all: rate.NewLimiter(inAll, inAllBurst), sources: shares.NewLimiters(perSource, perSourceBurst, maxSources),
	}
	_, _ = rand.Read(f.key[:]) // it ends the process rather than fail
	return f
}

func (f *filter) wrap(_ logr.Logger, metrics http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if no := f.look(r); no != (answer{}) {
			if no.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, no.text, no.status)
			return
		}
		metrics.ServeHTTP(w, r)
	}), nil
}

// look decides about a request, with no question to the API server where it was answered a moment ago.
func (f *filter) look(r *http.Request) answer {
	token, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !is || token == "" || len(token) > maxToken {
		return nobody
	}
	id := f.digestOf(token)
	if last, ok := f.remembered(id); ok {
		return last
	}
	if _, known := f.known.Get(id); !known {
		source, _, _ := net.SplitHostPort(r.RemoteAddr)
		if !f.sources.Of(source).Allow() || !f.all.Allow() {
			return tooMany
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTime)
	defer cancel()
	found, landed, err := f.flights.Join(ctx, string(id[:]), reviewTime, func(ctx context.Context) (answer, error) {
		return f.review(ctx, id, token), nil
	})
	if !landed || err != nil {
		return unasked
	}
	return found
}

// review asks the API server, and remembers what it said.
func (f *filter) review(ctx context.Context, id digest, token string) answer {
	who, err := f.clients.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return unasked
	case !who.Status.Authenticated:
		f.known.Remove(id)
		return f.remember(id, nobody, refusedTTL)
	}
	user, extra := who.Status.User, map[string]authorizationv1.ExtraValue{}
	for key, values := range who.Status.User.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	may, err := f.clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return unasked
	case !may.Status.Allowed:
		return f.remember(id, forbidden, refusedTTL)
	}
	f.known.Add(id, nil, knownTTL)
	return f.remember(id, answer{}, acceptedTTL)
}

func (f *filter) remember(id digest, found answer, ttl time.Duration) answer {
	f.answers.Add(id, found, ttl)
	return found
}

func (f *filter) remembered(id digest) (answer, bool) {
	last, _ := f.answers.Get(id)
	found, ok := last.(answer)
	return found, ok
}

func (f *filter) digestOf(token string) (id digest) {
	mac := hmac.New(sha256.New, f.key[:])
	_, _ = mac.Write([]byte(token)) // a hash takes every write
	mac.Sum(id[:0])
	return id
}
