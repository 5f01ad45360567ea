package client_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/client"
)

// joinable keeps rounds open until a test is over, however busy the machine.
func joinable(c *client.Config) { c.JoinWithin = time.Hour }

func requestOf(volume string) *resolverv1.ResolveRequest {
	wanted := request()
	wanted.VolumeId = volume
	return wanted
}

// asking is a request under way.
type asking struct {
	g        Gomega
	volume   string
	response *resolverv1.ResolveResponse
	err      error
	over     chan struct{}
}

func together(ctx context.Context, g Gomega, c *client.Client, volume string) *asking {
	a := &asking{g: g, volume: volume, over: make(chan struct{})}
	go func() {
		defer close(a.over)
		a.response, a.err = c.ResolveTogether(ctx, requestOf(volume))
	}()
	return a
}

func (a *asking) expectAnswer() {
	<-a.over
	a.g.Expect(a.err).NotTo(HaveOccurred(), a.volume)
	a.g.Expect(a.response.GetRevision()).To(Equal("r1"+a.volume), "its own answer")
}

func TestVolumesOfOneMomentShareACall(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2")
	c := s.client(t, joinable)
	var all []*asking
	for i := range 200 {
		all = append(all, together(t.Context(), g, c, fmt.Sprint("volume-", i)))
	}
	for _, a := range all {
		a.expectAnswer()
	}
	one := s.theOneAsked(g)
	calls, _ := one.calls()
	g.Expect(calls).To(Equal(1))
	g.Expect(one.asked).To(Equal(200))
	g.Expect(one.tokens).To(HaveEach("Bearer node-token"))
}

func TestACallEndsWhenNothingJoins(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	c := s.client(t, func(c *client.Config) { c.JoinWithin = time.Nanosecond })
	for calls := range 3 {
		together(t.Context(), g, c, "volume").expectAnswer()
		g.Eventually(func(g Gomega) {
			all, open := s.replicas[0].calls()
			g.Expect([]int{all, open}).To(Equal([]int{calls + 1, 0}))
		}).WithTimeout(time.Minute).Should(Succeed())
	}
}

func TestAHangingVolumeDelaysNoOther(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	s.replicas[0].hangs = map[string]bool{"hangs": true}
	c := s.client(t, joinable)
	ctx, cancel := context.WithCancel(t.Context())
	hangs := together(ctx, g, c, "hangs") // it begins the round, or joins it
	for i := range 20 {
		together(t.Context(), g, c, fmt.Sprint(i)).expectAnswer()
	}
	g.Expect(hangs.over).NotTo(BeClosed())
	cancel()
	<-hangs.over
	g.Expect(fault.Is(hangs.err, v1alpha1.ReasonInternal)).To(BeTrue(), "%v", hangs.err)
	together(t.Context(), g, c, "after it").expectAnswer()
	calls, _ := s.replicas[0].calls()
	g.Expect(calls).To(Equal(1), "who began the round has left it, and the others have not")
}

func TestACallIsGivenUpWhenNobodyWaits(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	r := s.replicas[0]
	r.hang = true
	c := s.client(t, func(c *client.Config) { c.JoinWithin = time.Nanosecond })
	ctx, cancel := context.WithCancel(t.Context())
	hangs := together(ctx, g, c, "hangs")
	g.Eventually(r.count).WithTimeout(time.Minute).Should(Equal(1))
	cancel()
	<-hangs.over
	g.Eventually(func() int { _, open := r.calls(); return open }).WithTimeout(time.Minute).Should(BeZero())
}

func TestWhatAReplicaThatDiedDidNotAnswerAnotherDoes(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1", "127.0.0.2")
	c := s.client(t, joinable)
	together(t.Context(), g, c, "first").expectAnswer()
	first := s.theOneAsked(g)
	first.mu.Lock()
	first.hangs = map[string]bool{"a": true, "b": true, "c": true}
	first.mu.Unlock()
	var hanging []*asking
	for _, volume := range []string{"a", "b", "c"} {
		hanging = append(hanging, together(t.Context(), g, c, volume))
	}
	together(t.Context(), g, c, "second").expectAnswer()
	g.Eventually(first.count).WithTimeout(time.Minute).Should(Equal(5))

	first.server.Stop()
	for _, a := range hanging {
		a.expectAnswer()
	}
	for _, r := range s.replicas {
		if r != first {
			g.Expect(r.volumes).To(ConsistOf("a", "b", "c"), "what was answered is not asked again")
			calls, _ := r.calls()
			g.Expect(calls).To(Equal(1), "together again")
		}
	}
}

func TestAnOlderReplicaIsAskedForEachVolume(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	r := s.replicas[0]
	r.older = true
	c := s.client(t)
	for i := range 10 {
		together(t.Context(), g, c, fmt.Sprint(i)).expectAnswer()
	}
	calls, _ := r.calls()
	g.Expect(calls).To(Equal(1), "that it knows no rounds is remembered")
	g.Expect(r.asked).To(Equal(10))
}

func TestALargeRequestTravelsAlone(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	large := requestOf("large")
	large.Leases = make([]byte, resolverv1.MaxRequestBytes)
	_, err := s.client(t).ResolveTogether(t.Context(), large)
	g.Expect(err).NotTo(HaveOccurred())
	calls, _ := s.replicas[0].calls()
	g.Expect(calls).To(BeZero(), "it would end the call for all")
}

// strange is a replica that answers anything.
type strange struct {
	resolverv1.UnimplementedResolverServer
	answers []*resolverv1.ResolveEachResponse
}

func (s *strange) ResolveEach(stream grpc.BidiStreamingServer[resolverv1.ResolveRequest, resolverv1.ResolveEachResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, answer := range s.answers {
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func TestAStrangeAnswerIsAnError(t *testing.T) {
	alone := func(index uint32) *resolverv1.ResolveEachResponse {
		return &resolverv1.ResolveEachResponse{Index: index, Answer: &resolverv1.ResolveEachResponse_Alone{Alone: true}}
	}
	response := func(index uint32) *resolverv1.ResolveEachResponse {
		return &resolverv1.ResolveEachResponse{
			Index: index, Answer: &resolverv1.ResolveEachResponse_Response{Response: &resolverv1.ResolveResponse{}},
		}
	}
	for name, row := range map[string]struct {
		answers []*resolverv1.ResolveEachResponse
		fails   string
	}{
		"of nothing":            {answers: []*resolverv1.ResolveEachResponse{{}}, fails: "Internal"},
		"of another":            {answers: []*resolverv1.ResolveEachResponse{response(1)}, fails: "Internal"},
		"far away":              {answers: []*resolverv1.ResolveEachResponse{response(1<<32 - 1)}, fails: "Internal"},
		"alone, then alone":     {answers: []*resolverv1.ResolveEachResponse{alone(0), alone(0)}, fails: "no resolver answers"},
		"alone, then another":   {answers: []*resolverv1.ResolveEachResponse{alone(0), response(1)}, fails: "no resolver answers"},
		"twice, which is over":  {answers: []*resolverv1.ResolveEachResponse{response(0), response(0)}},
		"alone, as it is meant": {answers: []*resolverv1.ResolveEachResponse{alone(0), response(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newSite(t, "127.0.0.1")
			s.replicas[0].server.Stop()
			s.replicas[0].serves = &strange{answers: row.answers}
			pair, bundle := certificate("127.0.0.1", time.Hour)
			s.replicas[0].serve(t, s.port, pair)
			s.publish(map[string]string{"sallyport-0": bundle})
			_, err := s.client(t, joinable).ResolveTogether(t.Context(), requestOf("volume"))
			if row.fails == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(row.fails)))
			}
		})
	}
}

func TestATokenThatIsRefusedIsSaidToEachVolume(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, "127.0.0.1")
	s.replicas[0].refuses = resolverv1.EncodeFault(fault.Waiting(v1alpha1.ReasonNotAllowed, "the caller is not the node plugin"))
	c := s.client(t)
	var all []*asking
	for i := range 5 {
		all = append(all, together(t.Context(), g, c, strings.Repeat("v", i+1)))
	}
	for _, a := range all {
		<-a.over
		g.Expect(a.err).To(Equal(fault.Waiting(v1alpha1.ReasonNotAllowed, "the caller is not the node plugin")))
	}
}
