package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

const (
	// renewedConfigs are VaultConfigs that are renewed while something else keeps the controller busy.
	renewedConfigs = 40
	// renewedTTL is how long their tokens live: each is renewed after 5.7 to 6.7 seconds, so that a few seconds hold a
	// renewal of most, and one that is starved for as long again would be dead.
	renewedTTL = 10 * time.Second
	// calmWindow holds several renewals of each.
	calmWindow = 30 * time.Second
)

// renewals are the times at which tokens were renewed.
type renewals struct {
	mu sync.Mutex
	at map[string][]time.Time
	// notReady are the VaultConfigs that were seen so.
	notReady map[string]bool
}

// addRenewed makes the VaultConfigs with short tokens in a namespace of their own, waits until they are ready, and from
// then on records when they are renewed and which of them are no longer ready.
func (s *system) addRenewed(t *testing.T, namespace string) *renewals {
	t.Helper()
	g := NewWithT(t)
	g.Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	for i := range renewedConfigs {
		name := fmt.Sprintf("renewed-%d", i)
		token := s.vault.Token(env.TokenOptions{TTL: renewedTTL, Period: renewedTTL})
		s.addVaultConfig(t, namespace, name, s.proxy.URL(), token)
	}
	g.Eventually(func() int { return s.ready(t) }, 2*time.Minute, time.Second).Should(Equal(renewedConfigs))
	r := &renewals{at: map[string][]time.Time{}, notReady: map[string]bool{}}
	s.proxy.Observe(func(request *http.Request) {
		if !strings.HasSuffix(request.URL.Path, "auth/token/renew-self") {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		token := request.Header.Get("X-Vault-Token")
		r.at[token] = append(r.at[token], time.Now())
	})
	s.followReady(t, namespace, r)
	return r
}

// followReady notes VaultConfigs that are not ready.
func (s *system) followReady(t *testing.T, namespace string, r *renewals) {
	t.Helper()
	g := NewWithT(t)
	follower, err := client.NewWithWatch(s.Config, client.Options{Scheme: s.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	watch, err := follower.Watch(ctx, &v1alpha1.VaultConfigList{}, client.InNamespace(namespace))
	g.Expect(err).NotTo(HaveOccurred())
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		for event := range watch.ResultChan() {
			config, ok := event.Object.(*v1alpha1.VaultConfig)
			if ok && !meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionReady) {
				r.mu.Lock()
				r.notReady[config.Name] = true
				r.mu.Unlock()
			}
		}
	}()
}

// lateness is how many renewals became due in a span of time, and how late the latest of them was.
type lateness struct {
	number  int
	largest time.Duration
}

// between compares the time between two renewals of a token with the shortest such time that the token has: a token's
// renewal is due after the same part of its life every time. A token that was not renewed any more counts as late until
// now.
func (r *renewals) between(from, to time.Time) lateness {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found lateness
	for _, at := range r.at {
		usual := renewedTTL
		for i := range at[1:] {
			usual = min(usual, at[i+1].Sub(at[i]))
		}
		for i, last := range at {
			due, done := last.Add(usual), time.Now()
			if i+1 < len(at) {
				done = at[i+1]
			}
			if due.After(from) && due.Before(to) {
				found.number++
				found.largest = max(found.largest, done.Sub(due))
			}
		}
	}
	return found
}

// report publishes how late renewals were while nothing else happened, and in a span of time in which something did.
func (r *renewals) report(t *testing.T, name string, calm, busy [2]time.Time) {
	t.Helper()
	rest, storm := r.between(calm[0], calm[1]), r.between(busy[0], busy[1])
	r.mu.Lock()
	notReady := len(r.notReady)
	r.mu.Unlock()
	report := newReport(name, fmt.Sprintf("renewals of %d VaultConfigs with tokens that live %s, at rest and meanwhile", renewedConfigs, renewedTTL),
		"renewals at rest", "latest s", "renewals meanwhile", "latest meanwhile s", "not ready")
	report.add(float64(rest.number), rest.largest.Seconds(), float64(storm.number), storm.largest.Seconds(), float64(notReady))
	report.publish(t)
}
