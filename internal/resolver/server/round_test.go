package server

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/pipes"
)

// round is a node's side of a call with several requests.
type round struct {
	Gomega
	stream resolverv1.Resolver_ResolveEachClient
}

// begin begins a round within a bubble, of a server that knows the node plugin and has no engine: a pod whose token is
// good and that has the volume leads to a panic.
func begin(t *testing.T, l *pipes.Listener) *round {
	t.Helper()
	g := NewWithT(t)
	connection, _ := dialWithin(t, l, "127.0.0.1")
	stream, err := resolverv1.NewResolverClient(connection).ResolveEach(with(t.Context(), nodeToken("node-a")))
	g.Expect(err).NotTo(HaveOccurred())
	return &round{Gomega: g, stream: stream}
}

func (r *round) send(requests ...*resolverv1.ResolveRequest) {
	for _, request := range requests {
		r.Expect(r.stream.Send(request)).To(Succeed())
	}
}

// failure receives the next answer, which is one.
func (r *round) failure() (index uint32, reason, sentence string) {
	answer, err := r.stream.Recv()
	r.Expect(err).NotTo(HaveOccurred())
	f := resolverv1.DecodeFault(resolverv1.DecodeFailure(answer.GetFailure()))
	r.Expect(f).To(HaveOccurred())
	return answer.GetIndex(), f.Reason, f.Message()
}

// podToken is the token of pod shop/one, as far as anybody looks who does not review it.
func podToken(id int) string {
	return unsigned(fmt.Sprintf(`{"aud":"sallyport.dev","sub":"system:serviceaccount:shop:web","exp":99999999999,"jti":"%d",`+
		`"kubernetes.io":{"namespace":"shop","pod":{"name":"one"}}}`, id))
}

func podOne() *tokenClaims {
	return &tokenClaims{namespace: "shop", serviceAccount: "web", podName: "one", podUID: "uid of one", nodeName: "node-a", nodeUID: "uid-a"}
}

func TestEachRequestOfARoundIsAnsweredByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs, whole := podToken(1), podToken(2)
		callsBefore := counted(t, "sallyport_resolver_calls_total", "ResolveEach")
		r := begin(t, serveWithin(t, &cluster{says: podOne(), hangs: map[string]bool{hangs: true}}, unknownLife))
		invented := requestFor(whole)
		invented.VolumeId = "csi-invented"
		before := counted(t, "sallyport_resolver_requests_total", v1alpha1.ReasonInternal)
		begun := time.Now()
		r.send(requestFor(hangs), requestFor(whole), &resolverv1.ResolveRequest{}, invented)
		r.Expect(r.stream.CloseSend()).To(Succeed())
		answers := map[uint32]string{}
		for range 3 {
			index, reason, sentence := r.failure()
			answers[index] = reason + ": " + sentence
		}
		r.Expect(time.Since(begun)).To(BeZero(), "what hangs delays no other")
		r.Expect(answers).To(HaveLen(3))
		r.Expect(answers).To(HaveKeyWithValue(uint32(1), ContainSubstring("panic")))
		r.Expect(answers).To(HaveKeyWithValue(uint32(2), "NotAllowed: the pod's token is missing"))
		r.Expect(answers).To(HaveKeyWithValue(uint32(3), ContainSubstring("has no volume")))

		index, reason, _ := r.failure()
		r.Expect(index).To(BeZero())
		r.Expect(reason).To(Equal(v1alpha1.ReasonInternal))
		r.Expect(time.Since(begun)).To(And(BeNumerically(">", 0), BeNumerically("<=", requestLife)))
		_, err := r.stream.Recv()
		r.Expect(err).To(MatchError(io.EOF), "nothing is answered twice")
		r.Expect(counted(t, "sallyport_resolver_requests_total", v1alpha1.ReasonInternal)-before).To(BeEquivalentTo(2), "each counts by itself")
		r.Expect(counted(t, "sallyport_resolver_calls_total", "ResolveEach") - callsBefore).To(BeEquivalentTo(1))
	})
}

func TestARoundHasNoMoreThanANodesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 20
		c := &cluster{says: podOne(), hangs: map[string]bool{}}
		for n := range maxRequests + more { // each its own, for requests with the same one share its review
			c.hangs[podToken(n)] = true
		}
		l := serveWithin(t, c, unknownLife)
		r := begin(t, l)
		for token := range c.hangs {
			r.send(requestFor(token))
		}
		r.Expect(r.stream.CloseSend()).To(Succeed())
		synctest.Wait()
		other, _ := dialWithin(t, l, "127.0.0.1")
		begun := time.Now()
		r.Expect(ask(t.Context(), other, nodeToken("node-b"))).To(Succeed())
		r.Expect(time.Since(begun)).To(BeZero(), "another node has its own")
		at := map[time.Duration]int{}
		for range maxRequests + more {
			_, _, _ = r.failure()
			at[time.Since(begun)]++
		}
		r.Expect(at).To(HaveLen(2), "the others in the turns of the first: %v", at)
		r.Expect(at).To(ContainElements(maxRequests, more))
	})
}

func TestARoundIsBounded(t *testing.T) {
	for name, row := range map[string]struct {
		requests int
		end      bool
		reason   string
	}{
		"too many requests": {requests: resolverv1.MaxRound + 1, reason: v1alpha1.ReasonNotAllowed},
		"as many as may be": {requests: resolverv1.MaxRound, end: true},
		"one without end":   {requests: 1, reason: v1alpha1.ReasonInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, serveWithin(t, &cluster{down: true, says: podOne()}, unknownLife))
				go func() {
					for range row.requests {
						_ = r.stream.Send(requestFor(podToken(1))) // no answer of the API server: no refusal
					}
					if row.end {
						_ = r.stream.CloseSend()
					}
				}()
				begun := time.Now()
				answers := 0
				var err error
				for err == nil {
					if _, err = r.stream.Recv(); err == nil {
						answers++
					}
				}
				r.Expect(answers).To(Equal(min(row.requests, resolverv1.MaxRound)), "%v", err)
				r.Expect(time.Since(begun)).To(BeNumerically("<=", roundLife))
				if row.reason == "" {
					r.Expect(err).To(MatchError(io.EOF))
				} else {
					r.Expect(resolverv1.DecodeFault(err)).To(HaveField("Reason", row.reason))
				}
			})
		})
	}
}

func TestAReplicaThatStopsEndsItsRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, hangs := pipes.Listen(), podToken(1)
		stop := serveOn(t, l, &cluster{says: podOne(), hangs: map[string]bool{hangs: true}}, unknownLife)
		idle, busy := begin(t, l), begin(t, l)
		busy.send(requestFor(hangs))
		idle.send(&resolverv1.ResolveRequest{})
		_, _, _ = idle.failure()
		time.Sleep(reviewTimeout / 2) // what is under way needs no longer than a replica has
		begun := time.Now()
		go stop()
		_, err := idle.stream.Recv()
		idle.Expect(err).To(MatchError(io.EOF), "what more it would ask for another replica has")
		idle.Expect(time.Since(begun)).To(BeZero())
		index, _, _ := busy.failure()
		busy.Expect(index).To(BeZero(), "what is under way ends")
		_, err = busy.stream.Recv()
		busy.Expect(errors.Is(err, io.EOF)).To(BeTrue(), "%v", err)
		busy.Expect(time.Since(begun)).To(BeNumerically("<=", gracePeriod))
	})
}

func TestALargeAnswerComesAlone(t *testing.T) {
	g := NewWithT(t)
	response := func(size int) *resolverv1.ResolveResponse {
		return &resolverv1.ResolveResponse{Files: []*resolverv1.File{{Path: "f", Content: make([]byte, size)}}}
	}
	small := answerOf(3, response(resolverv1.MaxTogetherBytes/2))
	g.Expect(small).To(HaveLen(1))
	g.Expect(proto.Size(small[0])).To(BeNumerically("<=", resolverv1.MaxTogetherBytes))
	g.Expect(small[0].GetIndex()).To(BeEquivalentTo(3))
	large := answerOf(4, response(resolverv1.MaxTogetherBytes))
	g.Expect(large).To(HaveLen(2))
	g.Expect(large[0].GetAlone()).To(BeTrue())
	g.Expect(large[1].GetResponse().GetFiles()).To(HaveLen(1))
	g.Expect([]uint32{large[0].GetIndex(), large[1].GetIndex()}).To(HaveEach(uint32(4)))
}

// counted is the value of a counter with one label.
func counted(t *testing.T, name, label string) float64 {
	t.Helper()
	g, registry := NewWithT(t), prometheus.NewRegistry()
	g.Expect(RegisterMetrics(registry)).To(Succeed())
	families, err := registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
