package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/overview"
)

func (p *program) status() *cobra.Command {
	c := &cobra.Command{
		Use:               "status",
		Short:             "List VaultConfigs, Connections, VaultTasks, node plugins and replicas of the controller, sick ones first",
		Args:              cobra.NoArgs,
		RunE:              p.run(p.runStatus),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	p.addOutput(c)
	p.addAllNamespaces(c)
	return c
}

func (p *program) addAllNamespaces(c *cobra.Command) {
	c.Flags().BoolVarP(&p.everywhere, "all-namespaces", "A", false, "look into all namespaces")
}

// where is the namespace to look into; empty for all.
func (p *program) where(to *cluster.Cluster) string {
	if p.everywhere {
		return ""
	}
	return to.Namespace
}

func (p *program) runStatus(ctx context.Context, to *cluster.Cluster, _ []string) error {
	rows, err := overview.Objects(ctx, to, p.where(to), time.Now())
	if err != nil {
		return err
	}
	err = p.print(items[overview.Row]{rows}, func(w io.Writer) { p.writeStatus(w, rows, p.where(to)) })
	if err != nil {
		return err
	}
	for n := range rows {
		if rows[n].Sick() {
			return errWrong
		}
	}
	return nil
}

// items is a list as JSON and YAML have it.
type items[T any] struct {
	Items []T `json:"items"`
}

func (p *program) writeStatus(w io.Writer, rows []overview.Row, namespace string) {
	table := printers.GetNewTabWriter(w)
	line := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	header := []string{"", "KIND", "NAMESPACE", "NAME", "STATE", "SINCE", "DETAIL"}
	if p.wide() {
		header = append(header, "MESSAGE")
	}
	line(header...)
	objects := false
	for n := range rows {
		r := &rows[n]
		objects = objects || r.Kind == "VaultConfig" || r.Kind == "Connection" || r.Kind == "VaultTask"
		if r.Each && !r.Sick() && !p.wide() {
			continue
		}
		state := string(r.State)
		if r.Sick() && r.Reason != "" {
			state = r.Reason
		}
		cells := []string{mark(r.State), r.Kind, dash(r.Namespace), r.Name, state, since(r.Since), dash(r.Detail)}
		if p.wide() {
			cells = append(cells, dash(r.Message))
		}
		line(cells...)
	}
	_ = table.Flush() // into memory
	if !objects {
		_, _ = fmt.Fprintf(w, "\nThere are no VaultConfigs, Connections or VaultTasks%s.\n", in(namespace))
	}
	if p.wide() {
		return
	}
	for n := range rows {
		if r := &rows[n]; r.Sick() {
			_, _ = fmt.Fprintf(w, "\n%s %s\n  %s\n", r.Kind, name(r.Namespace, r.Name), finding(r.Health))
		}
	}
}

func in(namespace string) string {
	if namespace == "" {
		return " in any namespace"
	}
	return " in namespace " + namespace
}

func name(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func since(at *metav1.Time) string {
	if at.IsZero() {
		return "-"
	}
	return duration.HumanDuration(time.Since(at.Time))
}
