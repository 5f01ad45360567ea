package once

import (
	"fmt"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

// trouble is what goes wrong while a task runs.
type trouble struct {
	name string
	// stores are the faults of the first process's writes of status; next those of the one after it.
	stores, next map[int64]storeFault
	// answer is what becomes of the request that has the effect.
	answer *env.Fault
	// killed: the first process dies after its first pass, and another takes over with an empty memory.
	killed bool
	// meanwhile: somebody else acts before the second pass.
	meanwhile bool
	// old: the processes' caches show the task as it was created.
	old bool
	// leaders is how many processes work on the task at the same time; one if zero.
	leaders int
}

func troubles() []trouble {
	var all []trouble
	for _, killed := range []bool{false, true} {
		for name, stores := range map[string]map[int64]storeFault{
			"the claim is lost":                {1: lost},
			"the claim's answer is lost":       {1: unanswered},
			"the claim meets a conflict":       {1: conflict},
			"the result is lost":               {2: lost},
			"the result's answer is lost":      {2: unanswered},
			"the result meets a conflict":      {2: conflict},
			"the result is lost twice":         {2: lost, 3: lost},
			"claim and result meet a conflict": {1: conflict, 3: conflict},
		} {
			all = append(all, trouble{name: name, stores: stores, killed: killed})
		}
		for name, answer := range map[string]env.Fault{
			"Vault's answer is lost":            {CloseAfter: true},
			"the request is lost":               {CloseBefore: true},
			"Vault answers with an error":       {Status: 500},
			"something in front of Vault fails": {Status: 502, Body: "<html>"},
		} {
			all = append(all,
				trouble{name: name, answer: &answer, killed: killed},
				trouble{name: name + ", and what is made of it too", answer: &answer, stores: map[int64]storeFault{2: lost}, killed: killed},
				trouble{name: name + ", and taking it up fails", answer: &answer, stores: map[int64]storeFault{3: unanswered}, next: map[int64]storeFault{1: unanswered}, killed: killed})
		}
		all = append(all,
			trouble{name: "the cache is old", old: true, killed: killed},
			trouble{name: "the cache is old and the claim's answer is lost", old: true, stores: map[int64]storeFault{1: unanswered}, killed: killed},
			trouble{name: "the cache is old and the result is lost", old: true, stores: map[int64]storeFault{2: lost}, killed: killed},
			trouble{name: "the cache is old and Vault's answer is lost", old: true, answer: &env.Fault{CloseAfter: true}, killed: killed},
			trouble{name: "Vault's answer is lost and somebody else acts", answer: &env.Fault{CloseAfter: true}, killed: killed, meanwhile: true})
	}
	for n := range 3 {
		all = append(all,
			trouble{name: fmt.Sprintf("there are two leaders, %d", n), leaders: 2},
			trouble{name: fmt.Sprintf("there are two leaders and their caches are old, %d", n), leaders: 2, old: true, answer: &env.Fault{CloseAfter: true}},
			trouble{name: fmt.Sprintf("there are two leaders and an answer is lost, %d", n), leaders: 2, answer: &env.Fault{CloseAfter: true}},
			trouble{name: fmt.Sprintf("there are three leaders and a request is lost, %d", n), leaders: 3, answer: &env.Fault{CloseBefore: true}})
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
			for _, trouble := range troubles() {
				if trouble.meanwhile && operation.meanwhile == nil {
					continue
				}
				group.Go(func() error {
					path := fmt.Sprintf("%s-%d", operation.name, number.Add(1))
					outcome, err := play(base, operation, trouble, path)
					mu.Lock()
					defer mu.Unlock()
					outcomes[operation.name+": "+outcome]++
					if err != nil {
						wrong = append(wrong, fmt.Sprintf("%s, when %s (killed: %t): %v", operation.name, trouble.name, trouble.killed, err))
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

// play runs one task through one trouble, and says how it ended.
func play(base client.WithWatch, operation operation, trouble trouble, path string) (string, error) {
	operation.prepare(path)
	task := &v1alpha1.VaultTask{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: path},
		Spec:       v1alpha1.VaultTaskSpec{TaskTarget: v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "main"}}},
	}
	operation.task(path, &task.Spec)
	if err := base.Create(ctx, task); err != nil {
		return "", err
	}
	if trouble.answer != nil {
		fault := *trouble.answer
		fault.Method, fault.Path, fault.Times = operation.method, operation.api(path), 1
		proxy.Inject(fault)
	}
	var old *v1alpha1.VaultTask
	if trouble.old {
		old = task.DeepCopy()
	}
	leaders := []*process{newProcess(base, trouble.stores, old)}
	for len(leaders) < trouble.leaders {
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
		if pass == 1 && trouble.meanwhile {
			operation.meanwhile(path)
		}
		if pass == 1 && trouble.killed {
			leaders[0] = newProcess(base, trouble.next, old)
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
