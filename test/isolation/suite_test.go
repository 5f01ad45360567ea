//go:build linux

package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"

	"sallyport.dev/sallyport/test/env"
)

var (
	ctx    = context.Background()
	system *System
	victim *Victim
	// results are those of the rows that ran, in order.
	results []*Result
	output  string
)

func TestIsolation(t *testing.T) {
	RegisterFailHandler(Fail)
	if os.Getuid() != 0 {
		t.Skip("only root may make cgroups and mounts")
	}
	if !env.HasOwnMounts() {
		NewWithT(t).Expect(env.RunWithOwnMounts(t.Context())).To(Succeed())
		return
	}
	RunSpecs(t, "Isolation: what a hostile tenant does, and what another one has meanwhile")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(logr.Discard()) // of this process's clients; the programs have logs of their own
	output = os.Getenv("ISOLATION_OUTPUT")
	if output == "" {
		output = GinkgoT().TempDir()
	}
	var err error
	system, err = Start(ctx, output)
	DeferCleanup(func() { Expect(system.Close()).To(Succeed()) })
	Expect(err).NotTo(HaveOccurred())
	victim, err = NewVictim(ctx, system)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(victim.Close(ctx)).To(Succeed()) })
	Expect(victim.Calm(ctx, calmWithin)).To(Succeed(), "before any attack")
})

var _ = AfterSuite(func() {
	if len(results) > 0 {
		Expect(os.WriteFile(filepath.Join(output, "matrix.md"), []byte(Table(results)), 0o600)).To(Succeed())
	}
})

// calmWithin is how soon all is as before when an attack is over.
const calmWithin = 30 * time.Second

var _ = Describe("A well-behaved tenant", Ordered, ContinueOnFailure, func() {
	entries := []any{func(attack Attack) {
		namespace := fmt.Sprintf("hostile-%d", len(results))
		result, err := victim.Run(ctx, attack, namespace, Length())
		Expect(err).NotTo(HaveOccurred())
		results = append(results, result)
		AddReportEntry("figures", Table([]*Result{result})+"\n"+result.Seen+"\n"+result.Reasons)
		calm := victim.Calm(ctx, calmWithin)
		if calm != nil {
			result.Failures = append(result.Failures, fmt.Errorf("afterwards it was not as before: %w", calm))
		}
		if err := errors.Join(result.Failures...); err != nil {
			Fail(err.Error())
		}
	}}
	for _, attack := range append([]Attack{Rest}, Attacks...) {
		entries = append(entries, Entry(attack.Name, attack))
	}
	DescribeTable("has what it needs while another one has", entries...)
})
