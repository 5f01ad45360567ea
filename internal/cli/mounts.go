package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/overview"
)

func (p *program) mounts() *cobra.Command {
	c := &cobra.Command{
		Use:               "mounts",
		Short:             "List who mounts which Connection, and which versions of its secrets the volumes hold",
		Args:              cobra.NoArgs,
		RunE:              p.run(p.runMounts),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	p.addOutput(c)
	p.addAllNamespaces(c)
	return c
}

func (p *program) runMounts(ctx context.Context, to *cluster.Cluster, _ []string) error {
	mounts, err := overview.Mounts(ctx, to, p.where(to))
	if err != nil {
		return err
	}
	return p.print(items[overview.Mount]{mounts}, func(w io.Writer) { p.writeMounts(w, mounts, p.where(to)) })
}

func (p *program) writeMounts(w io.Writer, mounts []overview.Mount, namespace string) {
	if len(mounts) == 0 {
		_, _ = fmt.Fprintf(w, "Nothing mounts a Connection, and there is none%s.\n", in(namespace))
		return
	}
	table := printers.GetNewTabWriter(w)
	line := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	header := []string{"NAMESPACE", "CONNECTION", "POD", "VOLUME", "STATE", "VERSIONS", "COMPARED"}
	if p.wide() {
		header = append(header, "NODE", "SERVICE ACCOUNT", "SINCE", "PATHS")
	}
	line(header...)
	for n := range mounts {
		m := &mounts[n]
		var held, paths []string
		for _, secret := range m.Secrets {
			held = append(held, secret.String())
			paths = append(paths, secret.Path)
		}
		compared := since(m.LastRefreshTime)
		if m.LastRefreshTime != nil {
			compared += " ago"
		}
		cells := []string{
			m.Namespace, dash(m.Connection), dash(m.Pod), dash(m.Volume), mountState(m),
			dash(strings.Join(held, ", ")), compared,
		}
		if p.wide() {
			cells = append(cells, dash(m.Node), dash(m.ServiceAccount), since(m.Since), dash(strings.Join(paths, ", ")))
		}
		line(cells...)
	}
	_ = table.Flush() // into memory
}

func mountState(m *overview.Mount) string {
	switch {
	case m.Missing:
		return "no such Connection"
	case m.Pod == "":
		return "not mounted"
	case m.Waits:
		return "waits"
	default:
		return "mounted"
	}
}
