package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/cli-runtime/pkg/resource"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/ownvault"
	"sallyport.dev/sallyport/internal/cli/policy"
	"sallyport.dev/sallyport/internal/fault"
)

// policyCommand is policy, with its flags.
type policyCommand struct {
	*program
	files             resource.FilenameOptions
	compare, askVault bool
}

func newPolicy(p *program) *cobra.Command {
	o := &policyCommand{program: p}
	c := &cobra.Command{
		Use:   "policy [vaultconfig/NAME...]",
		Short: "Write the least policy of Vault for what Connections and VaultTasks ask, or compare it with what a token has",
		Example: "  kubectl sallyport policy vaultconfig/main > main.hcl\n" +
			"  kubectl sallyport policy -f manifests/\n" +
			"  VAULT_TOKEN=… kubectl sallyport policy vaultconfig/main --compare",
		ValidArgsFunction: p.completeObjects([]string{"vaultconfig"}),
		RunE: func(c *cobra.Command, args []string) error {
			if len(o.files.Filenames) > 0 {
				return withoutCluster(p, c, func(ctx context.Context) error { return o.write(ctx, nil, args) })
			}
			return p.run(o.write)(c, args)
		},
	}
	p.addOutput(c)
	p.addAllNamespaces(c)
	c.Flags().StringSliceVarP(&o.files.Filenames, "filename", "f", nil, "files or directories with the objects, - for standard input; no cluster is asked")
	c.Flags().BoolVarP(&o.files.Recursive, "recursive", "R", false, "directories with what is below them")
	c.Flags().BoolVar(&o.askVault, "ask-vault", false, "ask your own Vault (VAULT_ADDR, VAULT_TOKEN) which engines it has")
	c.Flags().BoolVar(&o.compare, "compare", false, "compare with what the token VAULT_TOKEN may do")
	return c
}

// write makes the policies of a cluster, or of files if there is none, and prints them, or what differs.
func (p *policyCommand) write(ctx context.Context, to *cluster.Cluster, args []string) error {
	names, err := configNames(args)
	if err != nil {
		return err
	}
	var own *ownvault.Vault
	var ask policy.Ask
	if p.askVault || p.compare {
		if own, err = ownvault.FromEnvironment(p.environment); err != nil {
			return err
		}
		ask = own.EngineVersion
	}
	var objects *policy.Objects
	namespace := ""
	if to == nil {
		objects, err = policy.Read(p.files, p.In, p.namespaceOfFiles())
	} else {
		if namespace = p.where(to); len(names) > 0 {
			namespace = to.Namespace
		}
		objects, err = policy.Load(ctx, to, namespace, names)
	}
	if err != nil {
		return err
	}
	made, err := policy.Make(ctx, objects, ask)
	if err != nil {
		return err
	}
	made = slices.DeleteFunc(made, func(m policy.Policy) bool {
		isNamed := m.Subject.Kind == fault.KindVaultConfig && slices.Contains(names, m.Subject.Name)
		return namespace != "" && m.Subject.Namespace != namespace || len(names) > 0 && !isNamed
	})
	for _, name := range names {
		if !slices.ContainsFunc(made, func(m policy.Policy) bool { return m.Subject.Name == name }) {
			return fmt.Errorf("there is no VaultConfig %s%s", name, in(namespace))
		}
	}
	if p.compare {
		return p.compareAll(ctx, own, made)
	}
	return p.printAll(made, namespace)
}

// configNames reads the arguments, which are VaultConfigs.
func configNames(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		kind, name, err := object([]string{arg})
		if err != nil {
			return nil, err
		}
		if kind.Name != fault.KindVaultConfig {
			return nil, usageError{errors.New("policy is for vaultconfig, not for " + strings.ToLower(kind.Name))}
		}
		names = append(names, name)
	}
	return names, nil
}

// namespaceOfFiles is that of objects which name none.
func (p *policyCommand) namespaceOfFiles() string {
	if *p.flags.Namespace != "" {
		return *p.flags.Namespace
	}
	return "default"
}

// printAll prints policies; something is wrong if one lacks what it should have.
func (p *policyCommand) printAll(made []policy.Policy, namespace string) error {
	err := p.print(items[policy.Policy]{made}, func(w io.Writer) {
		for n := range made {
			if n > 0 {
				_, _ = fmt.Fprintln(w)
			}
			made[n].WriteHCL(w)
		}
		if len(made) == 0 {
			_, _ = fmt.Fprintf(w, "# There is no VaultConfig%s.\n", in(namespace))
		}
	})
	if err != nil {
		return err
	}
	for n := range made {
		if len(made[n].Problems) > 0 {
			return errWrong
		}
	}
	return nil
}

func (p *policyCommand) compareAll(ctx context.Context, own *ownvault.Vault, made []policy.Policy) error {
	differences := make([]policy.Difference, len(made))
	same := true
	for n := range made {
		held, err := rights(ctx, own, &made[n])
		if err != nil {
			return err
		}
		differences[n] = made[n].Compare(held)
		same = same && differences[n].Same() && len(made[n].Problems) == 0
	}
	err := p.print(items[policy.Difference]{differences}, func(w io.Writer) {
		for n := range differences {
			writeDifference(w, &differences[n], made[n].Problems)
		}
	})
	if err != nil || same {
		return err
	}
	return errWrong
}

// rights asks Vault what the user's token may do.
func rights(ctx context.Context, own *ownvault.Vault, of *policy.Policy) (*policy.Held, error) {
	var paths []string
	for n := range of.Rules {
		paths = append(paths, of.Rules[n].Path)
	}
	held := &policy.Held{}
	var err error
	if held.At, err = own.Capabilities(ctx, of.VaultNamespace, paths); err != nil {
		return nil, err
	}
	held.Granted, held.Root, err = own.Granted(ctx, of.VaultNamespace)
	return held, err
}

func writeDifference(w io.Writer, d *policy.Difference, problems []string) {
	_, _ = fmt.Fprintf(w, "%s\n", d.For)
	table := printers.GetNewTabWriter(w)
	line := func(what string, r *policy.Rule) {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n",
			what, r.Path, strings.Join(r.Capabilities, ", "), strings.Join(r.For, ", "))
	}
	for n := range d.Missing {
		line("✘ missing", &d.Missing[n])
	}
	for n := range d.TooMuch {
		line("… too much", &d.TooMuch[n])
	}
	_ = table.Flush() // into memory
	for _, problem := range problems {
		_, _ = fmt.Fprintf(w, "? not compared: %s\n", problem)
	}
	if d.Partial {
		_, _ = fmt.Fprintln(w, "? what it may do elsewhere is not known, for it may not read sys/internal/ui/resultant-acl")
	}
	if d.Same() {
		_, _ = fmt.Fprintln(w, "✔ The token has what is needed, and nothing more that is known.")
	}
}
