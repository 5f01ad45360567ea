package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/diagnosis"
)

func (p *program) why() *cobra.Command {
	c := &cobra.Command{
		Use:   "why KIND/NAME",
		Short: "Say why something is stuck: the first thing that is wrong on its way to Vault, with the cure",
		Example: "  kubectl sallyport why pod/orders-7c9d\n" +
			"  kubectl sallyport why deploy/orders -o wide\n" +
			"  kubectl sallyport why connection/oracle",
		Args:              cobra.RangeArgs(1, 2),
		RunE:              p.run(p.runWhy),
		ValidArgsFunction: p.completeObjects(kindNames()),
	}
	p.addOutput(c)
	return c
}

func (p *program) runWhy(ctx context.Context, to *cluster.Cluster, args []string) error {
	kind, name, err := object(args)
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: to.Namespace, Name: name}
	found, err := diagnosis.New(to, time.Now()).Diagnose(ctx, kind, key)
	if err != nil {
		return err
	}
	if err := p.print(found, func(w io.Writer) { p.writeDiagnosis(w, found) }); err != nil {
		return err
	}
	if !found.Healthy {
		return errWrong
	}
	return nil
}

func (p *program) writeDiagnosis(w io.Writer, found *diagnosis.Diagnosis) {
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	for _, step := range found.Steps {
		indent := strings.Repeat("  ", step.Depth)
		line := indent + mark(step.State) + " " + step.Object
		if said := finding(step.Health); said != "" && step != found.Cause && (p.wide() || step.Reason == "" || step.Reason == "Succeeded") {
			line += ": " + said
		} else if step.Reason != "" && step.Reason != "Succeeded" {
			line += ": " + step.Reason
		}
		write("%s", line)
		for _, detail := range step.Details {
			write("%s    %s", indent, detail)
		}
	}
	write("")
	if found.Healthy {
		write("Nothing is wrong with %s.", found.Object)
		return
	}
	write("First wrong: %s", found.Cause.Object)
	write("  %s", finding(found.Cause.Health))
	if found.Cure != "" {
		write("Cure: %s", found.Cure)
	}
}

// object reads KIND/NAME, or KIND NAME.
func object(args []string) (diagnosis.Kind, string, error) {
	word, name, _ := strings.Cut(strings.Join(args, "/"), "/")
	if word == "" || name == "" || strings.Contains(name, "/") {
		return diagnosis.Kind{}, "", usageError{errors.New("the argument is KIND/NAME, such as pod/orders or connection/oracle")}
	}
	kind, known := diagnosis.KindOf(word)
	if !known {
		return diagnosis.Kind{}, "", usageError{fmt.Errorf("there is no kind %q here; it is one of %s", word, strings.Join(kindNames(), ", "))}
	}
	return kind, name, nil
}

func kindNames() []string {
	names := make([]string, 0, len(diagnosis.Kinds))
	for _, kind := range diagnosis.Kinds {
		names = append(names, strings.ToLower(kind.Name))
	}
	return names
}

// completeObjects completes KIND/NAME for some kinds.
func (p *program) completeObjects(kinds []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		word, _, isNamed := strings.Cut(typed, "/")
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		kind, known := diagnosis.KindOf(word)
		if !isNamed || !known || !slices.Contains(kinds, strings.ToLower(kind.Name)) {
			words := make([]string, 0, len(kinds))
			for _, name := range kinds {
				words = append(words, name+"/")
			}
			return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		to, err := cluster.Connect(p.flags)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list := kind.List()
		if err := to.List(c.Context(), list, client.InNamespace(to.Namespace)); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			if accessor, err := meta.Accessor(o); err == nil {
				names = append(names, word+"/"+accessor.GetName())
			}
			return nil
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
