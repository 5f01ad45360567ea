package client_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/client"
)

const namespace = "sallyport-system"

type resolve = func(context.Context, *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error)

// ways are those in which the files of a volume are asked for.
var ways = map[string]func(*client.Client) resolve{
	"by itself": func(c *client.Client) resolve { return c.Resolve },
	"together":  func(c *client.Client) resolve { return c.ResolveTogether },
}

func TestConnectionsComeFromTheLocalAddress(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	c := s.client(t, func(config *client.Config) { config.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)} })
	_, err := c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.replicas[0].callers).To(Equal([]string{"127.0.0.9"}))
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer error
		fault  *fault.Fault
	}{
		{name: "files come back"},
		{
			name:   "a refusal keeps reason and sentence",
			answer: resolverv1.EncodeFault(fault.Waiting(v1alpha1.ReasonNotAllowed, "Connection shop/db may not be mounted")),
			fault:  fault.Waiting(v1alpha1.ReasonNotAllowed, "Connection shop/db may not be mounted"),
		},
		{
			name:   "Vault being away is an answer of the resolver, not its absence",
			answer: resolverv1.EncodeFault(fault.Transient(v1alpha1.ReasonVaultUnreachable, "GET secret/data/db: connection refused")),
			fault:  fault.Transient(v1alpha1.ReasonVaultUnreachable, "GET secret/data/db: connection refused"),
		},
		{
			name:   "a status without a reason is not quoted",
			answer: status.Error(codes.Unknown, "who knows what is in here"),
			fault:  fault.Transient(v1alpha1.ReasonInternal, "the resolver's answer is not one: gRPC status Unknown without a reason"),
		},
	} {
		for way, ask := range ways {
			t.Run(test.name+", "+way, func(t *testing.T) {
				g := NewWithT(t)
				s := newSite(t, "127.0.0.1", "127.0.0.2")
				for _, r := range s.replicas {
					r.answer = test.answer
				}
				response, err := ask(s.client(t))(t.Context(), request())

				if test.fault == nil {
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(response.GetRevision()).To(Equal("r1"))
				} else {
					g.Expect(err).To(Equal(test.fault))
				}
				g.Expect(s.asked()).To(Equal(1), "an answer must not be asked for twice")
			})
		}
	}
}

func TestPresentsTheTokenOfTheMoment(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	c := s.client(t)

	_, err := c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(s.tokenFile, []byte("rotated\n"), 0o600)).To(Succeed())
	_, err = c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(s.replicas[0].tokens).To(Equal([]string{"Bearer node-token", "Bearer rotated"}))
}

func TestWithoutItsOwnTokenNothingIsAsked(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	c := s.client(t)
	g.Expect(os.WriteFile(s.tokenFile, nil, 0o600)).To(Succeed())

	_, err := c.Resolve(t.Context(), request())

	g.Expect(err).To(MatchError("the node plugin's own token cannot be read: it is empty"))
	g.Expect(s.asked()).To(BeZero())
}

func TestNodeStaysWithOneReplicaAndMovesWhenItIsGone(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	c := s.client(t)
	for range 5 {
		_, err := c.Resolve(t.Context(), request())
		g.Expect(err).NotTo(HaveOccurred())
	}
	first := s.theOneAsked(g)
	g.Expect(first.asked).To(Equal(5))

	first.server.Stop()
	for range 3 {
		_, err := c.Resolve(t.Context(), request())
		g.Expect(err).NotTo(HaveOccurred())
	}

	first.asked = 0
	g.Expect(s.theOneAsked(g).asked).To(Equal(3), "all calls must meet in the same second choice")
}

func TestLeasesAreRevokedByTheReplicaThatIsAskedOrTheNext(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2")
	c := s.client(t)
	_, err := c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	first := s.theOneAsked(g)

	g.Expect(c.Release(t.Context(), &resolverv1.ReleaseRequest{Leases: []byte("one")})).To(Succeed())
	g.Expect(first.released).To(Equal([]string{"one"}))
	g.Expect(first.tokens).To(HaveEach("Bearer node-token"))
	first.server.Stop()
	g.Expect(c.Release(t.Context(), &resolverv1.ReleaseRequest{Leases: []byte("two")})).To(Succeed())

	first.asked = 0
	second := s.theOneAsked(g)
	g.Expect(second.released).To(Equal([]string{"two"}))
	second.answer = resolverv1.EncodeFault(fault.Terminal(v1alpha1.ReasonInvalidRequest, "the leases are not ours"))
	err = c.Release(t.Context(), &resolverv1.ReleaseRequest{Leases: []byte("three")})
	g.Expect(err).To(Equal(fault.Terminal(v1alpha1.ReasonInvalidRequest, "the leases are not ours")))
	second.server.Stop()
	err = c.Release(t.Context(), &resolverv1.ReleaseRequest{Leases: []byte("four")})
	g.Expect(fault.Is(err, v1alpha1.ReasonNoResolver)).To(BeTrue(), "%v", err)
}

// One that started just now, or that did not issue them, knows less than another.
func TestLeasesAreLeftOnlyIfEveryReplicaSaysSo(t *testing.T) {
	for _, reason := range []string{v1alpha1.ReasonConfigNotFound, v1alpha1.ReasonCredentialMissing} {
		t.Run(reason, func(t *testing.T) {
			g := NewWithT(t)
			s := newSite(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
			c := s.client(t)
			gone := fault.Waiting(reason, "nobody here can give them back")
			release := func() error { return c.Release(t.Context(), &resolverv1.ReleaseRequest{Leases: []byte("one")}) }
			remain := func() (all []bool) {
				for _, r := range s.replicas {
					all = append(all, r.remain...)
					r.remain, r.asked = nil, 0
				}
				return all
			}
			g.Expect(release()).To(Succeed())
			first := s.theOneAsked(g)
			g.Expect(remain()).To(Equal([]bool{true}))

			first.answer = resolverv1.EncodeFault(gone)
			g.Expect(release()).To(Succeed(), "by another")
			g.Expect(remain()).To(Equal([]bool{true, true}))

			for _, r := range s.replicas {
				r.answer = resolverv1.EncodeFault(gone)
			}
			g.Expect(release()).To(Equal(gone))
			g.Expect(remain()).To(ConsistOf(true, true, false), "the last one knows that it is")

			first.server.Stop()
			err := release()
			g.Expect(fault.Is(err, v1alpha1.ReasonNoResolver)).To(BeTrue(), "%v", err)
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient), "it may be back")
			g.Expect(remain()).To(Equal([]bool{true, true}), "of those that are there none has the last word")
		})
	}
}

func TestNodesSpreadOverReplicas(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	for i := range 24 {
		s.node = fmt.Sprintf("node-%d", i)
		_, err := s.client(t).Resolve(t.Context(), request())
		g.Expect(err).NotTo(HaveOccurred())
	}
	for _, r := range s.replicas {
		g.Expect(r.asked).To(BeNumerically(">=", 3))
	}
}

func TestNoResolver(t *testing.T) {
	for _, test := range []struct {
		name      string
		addresses []string
		breakIt   func(*site)
		sentence  string
	}{
		{
			name:     "none is published",
			breakIt:  func(*site) {},
			sentence: "no resolver is published in ConfigMap sallyport-system/sallyport-resolvers: is Sallyport's controller running?",
		},
		{
			name:      "none listens",
			addresses: []string{"127.0.0.1", "127.0.0.2"},
			breakIt: func(s *site) {
				for _, r := range s.replicas {
					r.server.Stop()
				}
			},
			sentence: "no resolver answers: 2 of 2 tried, the last failure: connection refused (sallyport-",
		},
		{
			name:      "it shows another certificate than the published one",
			addresses: []string{"127.0.0.1"},
			breakIt: func(s *site) {
				_, other := certificate("127.0.0.1", time.Hour)
				s.publish(map[string]string{"sallyport-0": other})
			},
			sentence: "no resolver answers: 1 of 1 tried, the last failure: its certificate is not the published one (sallyport-0)",
		},
		{
			name:      "none listens, and an entry beside it cannot be read",
			addresses: []string{"127.0.0.1"},
			breakIt: func(s *site) {
				s.publish(map[string]string{"sallyport-0": s.replicas[0].bundle, "sallyport-1": "no certificate at all"})
				s.replicas[0].server.Stop()
			},
			sentence: "no resolver answers: 1 of 1 tried, the last failure: connection refused (sallyport-0)",
		},
		{
			name:      "its certificate is expired",
			addresses: []string{"127.0.0.1"},
			breakIt: func(s *site) {
				_, expired := certificate("127.0.0.1", -time.Minute)
				s.publish(map[string]string{"sallyport-0": expired})
			},
			sentence: "no resolver is published in ConfigMap sallyport-system/sallyport-resolvers: is Sallyport's controller running?",
		},
		{
			name:      "it accepts the call and never answers",
			addresses: []string{"127.0.0.1"},
			breakIt: func(s *site) {
				s.replicas[0].hang, s.callTimeout = true, 300*time.Millisecond
			},
			sentence: "no resolver answers: 1 of 1 tried, the last failure: no answer in time (sallyport-0)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			s := newSite(t, test.addresses...)
			test.breakIt(s)

			for way, ask := range ways {
				_, err := ask(s.client(t))(t.Context(), request())

				g.Expect(fault.Is(err, v1alpha1.ReasonNoResolver)).To(BeTrue(), "%s: %v", way, err)
				g.Expect(err.Error()).To(HavePrefix(test.sentence), way)
			}
		})
	}
}

func TestHungReplicaDoesNotKeepOthersFromAnswering(t *testing.T) {
	t.Parallel() // it waits for the hung replica
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2")
	s.callTimeout = 10 * time.Second // the other one needs a part of it
	c := s.client(t, func(c *client.Config) { c.Clock = clocktesting.NewFakePassiveClock(time.Now()) })
	_, err := c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	hung := s.theOneAsked(g)
	hung.mu.Lock()
	hung.hang = true
	hung.mu.Unlock()

	_, err = c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hung.count()).To(Equal(2))

	_, err = c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hung.count()).To(Equal(2), "the hung replica must be remembered")
}

func TestFollowsTheConfigMap(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	c := s.client(t)
	_, err := c.Resolve(t.Context(), request())
	g.Expect(err).NotTo(HaveOccurred())

	// The replica renews: the next certificate is published beside the current one, and served later.
	r := s.replicas[0]
	next, bundle := certificate("127.0.0.1", time.Hour)
	s.publish(map[string]string{"sallyport-0": r.bundle + bundle})
	r.serve(t, s.port, next)
	g.Eventually(func() error { _, err := c.Resolve(t.Context(), request()); return err }).Should(Succeed())

	s.publish(nil)
	g.Eventually(func() error { _, err := c.Resolve(t.Context(), request()); return err }).
		Should(MatchError(ContainSubstring("no resolver is published")))
}

func TestGivenUpRequestIsNotBlamedOnTheResolver(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	s.replicas[0].hang = true
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)

	_, err := s.client(t).Resolve(ctx, request())

	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
}

func TestBeforeTheFirstLookAtTheConfigMap(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t)
	config := s.config()
	config.SyncTimeout = 50 * time.Millisecond
	c := client.New(config) // never run

	_, err := c.Resolve(t.Context(), request())

	g.Expect(fault.Is(err, v1alpha1.ReasonNoResolver)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("could not read ConfigMap sallyport-system/sallyport-resolvers"))
}

// The answers of all volumes may come at the same moment. Before there is a place for one, no more of it is taken than
// a stream's window.
func TestAnswersAreReceivedAFewAtATime(t *testing.T) {
	for way, ask := range ways {
		t.Run(way, func(t *testing.T) { receiveAFewAtATime(t, ask) })
	}
}

func receiveAFewAtATime(t *testing.T, ask func(*client.Client) resolve) {
	t.Helper()
	const volumes, places, size = 20, 2, resolverv1.MaxContentBytes
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	r := s.replicas[0]
	r.content = make([]byte, size)
	c, answers := s.client(t, func(c *client.Config) { c.CallTimeout = time.Minute }), resolverv1.NewAnswers(places)
	received := make(chan func(), volumes)
	for range volumes {
		go func() {
			ctx, done := answers.Hold(t.Context())
			response, err := ask(c)(ctx, request())
			if err != nil || len(response.GetFiles()) != 1 {
				t.Errorf("%v", err)
			}
			received <- done
		}()
	}
	first, second := <-received, <-received
	g.Consistently(received, "300ms").ShouldNot(Receive(), "before one is written")
	g.Expect(r.sent.Load()).To(BeNumerically("<", places*size+volumes*(64<<10)+(1<<20)))
	first()
	third := <-received
	second()
	third()
	for range volumes - 3 {
		(<-received)()
	}
	g.Expect(r.sent.Load()).To(BeNumerically(">", volumes*size), "so it is what was counted")
}
