package once

import (
	"fmt"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// faultInjection is what goes wrong while a task runs.
type faultInjection struct {
	name string
	// status holds the faults of the first process's writes of status, by their number; nextStatus those of the process
	// after it.
	status, nextStatus map[int64]statusFault
	// request is the fault of the request to Vault that has the effect.
	request *env.Fault
	// killed: the first process dies after its first pass, and another takes over with an empty memory.
	killed bool
	// meanwhile: somebody else acts before the second pass.
	meanwhile bool
	// old: the processes' caches show the task as it was created.
	old bool
	// leaders is how many processes work on the task at the same time; one if zero.
	leaders int
}

func faultInjections() []faultInjection {
	var all []faultInjection
	for _, killed := range []bool{false, true} {
		for name, status := range map[string]map[int64]statusFault{
			"the claim is lost":                {1: lost},
			"the claim's answer is lost":       {1: unanswered},
			"the claim meets a conflict":       {1: conflict},
			"the result is lost":               {2: lost},
			"the result's answer is lost":      {2: unanswered},
			"the result meets a conflict":      {2: conflict},
			"the result is lost twice":         {2: lost, 3: lost},
			"claim and result meet a conflict": {1: conflict, 3: conflict},
		} {
			all = append(all, faultInjection{name: name, status: status, killed: killed})
		}
		for name, request := range map[string]env.Fault{
			"Vault's answer is lost":            {CloseAfter: true},
			"the request is lost":               {CloseBefore: true},
			"Vault answers with an error":       {Status: 500},
			"something in front of Vault fails": {Status: 502, Body: "<html>"},
		} {
			all = append(all,
				faultInjection{name: name, request: &request, killed: killed},
				faultInjection{name: name + ", and what is made of it too", request: &request, status: map[int64]statusFault{2: lost}, killed: killed},
				faultInjection{name: name + ", and taking it up fails", request: &request, status: map[int64]statusFault{3: unanswered}, nextStatus: map[int64]statusFault{1: unanswered}, killed: killed})
		}
		all = append(all,
			faultInjection{name: "the cache is old", old: true, killed: killed},
			faultInjection{name: "the cache is old and the claim's answer is lost", old: true, status: map[int64]statusFault{1: unanswered}, killed: killed},
			faultInjection{name: "the cache is old and the result is lost", old: true, status: map[int64]statusFault{2: lost}, killed: killed},
			faultInjection{name: "the cache is old and Vault's answer is lost", old: true, request: &env.Fault{CloseAfter: true}, killed: killed},
			faultInjection{name: "Vault's answer is lost and somebody else acts", request: &env.Fault{CloseAfter: true}, killed: killed, meanwhile: true})
	}
	for n := range 3 {
		all = append(all,
			faultInjection{name: fmt.Sprintf("there are two leaders, %d", n), leaders: 2},
			faultInjection{name: fmt.Sprintf("there are two leaders and their caches are old, %d", n), leaders: 2, old: true, request: &env.Fault{CloseAfter: true}},
			faultInjection{name: fmt.Sprintf("there are two leaders and an answer is lost, %d", n), leaders: 2, request: &env.Fault{CloseAfter: true}},
			faultInjection{name: fmt.Sprintf("there are three leaders and a request is lost, %d", n), leaders: 3, request: &env.Fault{CloseBefore: true}})
	}
	return all
}

var _ = Describe("An effect of a VaultTask", func() {
	It("happens at most once, and status says whether, whatever fails", func() {
		base, err := client.NewWithWatch(cp.Config, client.Options{Scheme: cp.Scheme})
		Expect(err).NotTo(HaveOccurred())
		var (
			group    errgroup.Group
			mu       sync.Mutex
			outcomes = map[string]int{}
			wrong    []string
			number   atomic.Int64
		)
		group.SetLimit(8)
		for _, operation := range operations {
			for _, injected := range faultInjections() {
				if injected.meanwhile && operation.meanwhile == nil {
					continue
				}
				group.Go(func() error {
					path := fmt.Sprintf("%s-%d", operation.name, number.Add(1))
					outcome, err := run(base, operation, injected, path)
					mu.Lock()
					defer mu.Unlock()
					outcomes[operation.name+": "+outcome]++
					if err != nil {
						wrong = append(wrong, fmt.Sprintf("%s, when %s (killed: %t): %v", operation.name, injected.name, injected.killed, err))
					}
					return nil
				})
			}
		}
		Expect(group.Wait()).To(Succeed())
		GinkgoWriter.Println(number.Load(), "runs with faults:", outcomes)
		Expect(wrong).To(BeEmpty())
		Expect(number.Load()).To(BeNumerically(">=", 200))
		// What can be settled is: only an effect that nothing tells of may stay open.
		for _, operation := range []string{"write", "patch", "delete", "undelete", "destroy", "metadata", "remove"} {
			Expect(outcomes).NotTo(HaveKey(operation+": "+v1alpha1.ReasonOutcomeUnknown), "%v", outcomes)
		}
	})
})

// run runs one task with one fault injection, and returns the reason that it ended with.
func run(base client.WithWatch, operation operation, injected faultInjection, path string) (string, error) {
	operation.prepare(path)
	task := builder.VaultTask(namespace, path, "", "", func(t *v1alpha1.VaultTask) { operation.task(path, &t.Spec) })
	if err := base.Create(ctx, task); err != nil {
		return "", err
	}
	if injected.request != nil {
		fault := *injected.request
		fault.Method, fault.Path, fault.Times = operation.method, operation.api(path), 1
		proxy.Inject(fault)
	}
	var old *v1alpha1.VaultTask
	if injected.old {
		old = task.DeepCopy()
	}
	leaders := []*process{newProcess(base, injected.status, old)}
	for len(leaders) < injected.leaders {
		leaders = append(leaders, newProcess(base, nil, old))
	}
	for pass := 1; task.Status.CompletionTime == nil; pass++ {
		if pass > 12 {
			return "unfinished", fmt.Errorf("it does not end: %v", task.Status.Conditions)
		}
		var together sync.WaitGroup
		for _, leader := range leaders {
			together.Go(func() { leader.reconcile(task) })
		}
		together.Wait()
		if pass == 1 && injected.meanwhile {
			operation.meanwhile(path)
		}
		if pass == 1 && injected.killed {
			leaders[0] = newProcess(base, injected.nextStatus, old)
		}
		if err := base.Get(ctx, client.ObjectKeyFromObject(task), task); err != nil {
			return "", err
		}
	}
	// What was over stays over.
	for _, leader := range append(leaders, newProcess(base, nil, old)) {
		leader.reconcile(task)
	}
	return verdict(base, operation, task, path)
}

// verdict compares what the status says with what Vault holds.
func verdict(base client.Client, operation operation, task *v1alpha1.VaultTask, path string) (string, error) {
	if err := base.Get(ctx, client.ObjectKeyFromObject(task), task); err != nil {
		return "", err
	}
	effects, err := operation.effects(path)
	if err != nil {
		return "", err
	}
	ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady)
	said := fmt.Errorf("it happened %d times, and status says %s: %s", effects, ready.Reason, ready.Message)
	switch {
	case effects < 0 || effects > 1,
		ready.Reason == v1alpha1.ReasonSucceeded && effects != 1,
		ready.Reason != v1alpha1.ReasonSucceeded && ready.Reason != v1alpha1.ReasonOutcomeUnknown && effects != 0:
		return ready.Reason, said
	}
	return ready.Reason, nil
}
