package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/soundness"
)

func (p *program) check() *cobra.Command {
	c := &cobra.Command{
		Use:               "check",
		Short:             "Look whether the cluster is ready for Sallyport, and whether the installation is sound",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              p.run(p.runCheck),
	}
	p.addOutput(c)
	return c
}

func (p *program) runCheck(ctx context.Context, to *cluster.Cluster, _ []string) error {
	findings, err := soundness.Check(ctx, to, time.Now())
	if err != nil {
		return err
	}
	err = p.print(items[soundness.Finding]{findings}, func(w io.Writer) {
		table := printers.GetNewTabWriter(w)
		for n := range findings {
			f := &findings[n]
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", mark(f.State), f.Subject, finding(f.Health))
		}
		_ = table.Flush() // into memory
	})
	if err != nil {
		return err
	}
	for n := range findings {
		if findings[n].Sick() {
			return errWrong
		}
	}
	return nil
}
