package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// soakPods is how many pods there are of each kind.
const soakPods = 10

// mishap is what happens now and then on a cluster. Each returns when it is over.
type mishap struct {
	name string
	do   func(ctx context.Context)
}

func (m mishap) String() string { return strconv.Quote(m.name) }

var mishaps = []mishap{
	{"the controllers are rolled out", rollController},
	{"the leader crashes", func(ctx context.Context) { kill(replica(ctx, true)) }},
	{"all controllers crash", func(ctx context.Context) {
		pods := systemPods(ctx, "controller")
		for i := range pods {
			kill(&pods[i])
			remove(ctx, &pods[i], client.GracePeriodSeconds(0))
		}
	}},
	{"the node plugin crashes", func(ctx context.Context) { kill(plugin(ctx)) }},
	{"the node plugin is replaced", func(ctx context.Context) { remove(ctx, plugin(ctx), client.GracePeriodSeconds(1)) }},
	{"Vault is away", func(ctx context.Context) {
		component(ctx, "stop", "vault")
		time.Sleep(5 * time.Second)
		component(ctx, "start", "vault")
		component(ctx, "vault-unseal")
	}},
}

// controllerProcesses is how many processes of the controller there have been: each has a log of its own.
func controllerProcesses() int {
	GinkgoHelper()
	logs, err := filepath.Glob(filepath.Join(evidence, "*_"+systemNamespace+"_sallyport-controller-*.log"))
	Expect(err).NotTo(HaveOccurred())
	processes := map[string]bool{}
	for _, log := range logs {
		_, name, _ := strings.Cut(filepath.Base(log), "_") // the number before it differs in what was rotated
		processes[name] = true
	}
	Expect(len(processes)).To(BeNumerically(">=", 2))
	return len(processes)
}

// soak are pods with credentials of two kinds. One of two minutes, made with the token of a login of two minutes, is
// refused if nobody renews both, within the 40 seconds that are left when that is due. One of an hour, made with that of
// a login of a day, is there at the end if it was not given back. Both may be renewed for longer than the soak lasts, so
// that a program may read either once.
type soak struct {
	t           *tenant
	d           *database
	random      *rand.Rand
	logins      string
	pods        map[string][]*corev1.Pod // by Connection
	objects     []client.Object
	connections []string
}

func newSoak(ctx context.Context) *soak {
	GinkgoHelper()
	s := &soak{t: newReadyTenant(ctx), pods: map[string][]*corev1.Pod{}, connections: []string{"two", "hour"}}
	s.random = rand.New(rand.NewPCG(uint64(GinkgoRandomSeed()), 0))
	s.d = newDatabase(ctx, s.t)
	mount := "userpass-" + s.t.namespace
	s.logins = "auth/" + mount + "/login/"
	two, hour := s.t.withUser(ctx, mount, "carol", "2m"), s.t.withUser(ctx, mount, "dave", "24h")
	s.objects = []client.Object{
		&corev1.Secret{ObjectMeta: s.t.meta("carol")}, &corev1.Secret{ObjectMeta: s.t.meta("dave")}, two, hour,
		s.d.connect(ctx, s.t, "two", two.Name, "two"), s.d.connect(ctx, s.t, "hour", hour.Name, "lasting"),
	}
	for _, connection := range s.connections {
		s.pods[connection] = s.t.startMany(ctx, connection, soakPods)
	}
	for _, pod := range s.all() {
		expectRuns(ctx, pod, atLast)
		s.d.watchOnce(pod)
	}
	return s
}

func (s *soak) all() []*corev1.Pod {
	var all []*corev1.Pod
	for _, connection := range s.connections {
		all = append(all, s.pods[connection]...)
	}
	return all
}

// replace has a pod of each kind give way to another.
func (s *soak) replace(ctx context.Context) {
	GinkgoHelper()
	for _, connection := range s.connections {
		pods := s.pods[connection]
		i := s.random.IntN(len(pods))
		s.d.unwatch(pods[i])
		remove(ctx, pods[i])
		pods[i] = s.t.start(ctx, connection)
		expectRuns(ctx, pods[i], atLast)
		s.d.watchOnce(pods[i])
	}
}

// expectServed expects that no program was refused, whether it reads its files once or each time.
func (s *soak) expectServed() {
	GinkgoHelper()
	Expect(s.d.failed()).To(BeEmpty(), "logins with what stood in the files at that moment, or at the start")
	for _, pod := range s.all() {
		Expect(s.d.had(pod)).To(HaveLen(1), "users of pod %s, each of which could have been renewed", pod.Name)
	}
}

// Only hack/test.sh soak runs it, for SALLYPORT_SOAK.
var _ = func() bool {
	lasts, err := time.ParseDuration(os.Getenv("SALLYPORT_SOAK"))
	if err != nil {
		return false
	}
	return Describe("A soak of mishaps under pods with credentials of a real PostgreSQL", Serial, func() {
		It("refuses no login, and leaves no user, lease or token behind", func(ctx SpecContext) {
			expectProductReady(ctx)
			s := newSoak(ctx)
			first := slices.Clone(mishaps) // each once, and then any
			s.random.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
			By(fmt.Sprintf("mishaps with seed %d, at first %v", GinkgoRandomSeed(), first))
			end := time.Now().Add(lasts)
			for turn := 0; turn < len(first) || time.Now().Before(end); turn++ {
				next := mishaps[s.random.IntN(len(mishaps))]
				if turn < len(first) {
					next = first[turn]
				}
				By(next.name)
				keepMetrics(ctx)
				next.do(ctx)
				expectProductReady(ctx)

				By("pods give way to others")
				s.replace(ctx)
				time.Sleep(time.Duration(s.random.IntN(20)) * time.Second)
				s.expectServed()
			}

			// Tokens that leases depended on when their process ended are known to nobody. So the processes that are looked at
			// are the last ones, which end in peace.
			By("new controllers, and pods of theirs")
			former, last := controllerProcesses(), time.Now()
			rollController(ctx)
			for range 3 {
				s.replace(ctx)
			}
			s.expectServed()

			By("everything goes together")
			s.d.stopWatching()
			pods := s.all()
			Expect(len(s.d.made())).To(BeNumerically(">=", len(pods)))
			for _, object := range s.objects {
				Expect(api.Delete(ctx, object)).To(Succeed())
			}
			for _, pod := range pods {
				Expect(api.Delete(ctx, pod)).To(Succeed())
			}
			s.expectServed()
			Eventually(ctx, s.d.made).WithTimeout(2*time.Minute).WithPolling(time.Second).
				Should(BeEmpty(), "users in PostgreSQL, half of them of an hour")
			s.d.expectNoLeases(ctx, "two")
			s.d.expectNoLeases(ctx, "lasting")

			By("the controllers stop, with what they keep in memory for ten minutes to revoke leases with")
			rollController(ctx)
			Eventually(ctx, func() int { return livingTokens(ctx, s.logins+"dave", last) }).WithTimeout(eventual).
				Should(BeZero(), "tokens that would live for a day")
			Expect(livingTokens(ctx, s.logins+"dave", time.Time{})).
				To(BeNumerically("<=", former), "one of each process that ended before")
			Eventually(ctx, func() int { return livingTokens(ctx, s.logins+"carol", time.Time{}) }).WithTimeout(atLast).
				Should(BeZero(), "tokens that live for two minutes if nobody renews them")
		}, SpecTimeout(lasts+25*time.Minute))

		It("goes on after the loss of both replicas, with what lives longer", survivesTheLossOfBothReplicas, SpecTimeout(20*time.Minute))
	})
}()
