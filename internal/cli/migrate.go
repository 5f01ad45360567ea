package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/migrate"
)

// migrateFlags are those of the command.
type migrateFlags struct {
	files                  []string
	vaultURL, ca, report   string
	keys                   []string
	patches, allNamespaces bool
}

func (p *program) migrate() *cobra.Command {
	flags := &migrateFlags{}
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Turn manifests of other ways from Vault into pods into Sallyport's",
		Long: "Turn manifests of the Secrets Store CSI Driver, the External Secrets Operator, the Vault Secrets Operator and\n" +
			"Vault's agent injector into VaultConfigs, Connections and changed pod templates, on standard output. What has no\n" +
			"equal, and why, is reported on standard error. Nothing is changed in the cluster.\n\n" +
			"Exit codes: 0 everything has an equal; 1 something has none, and was reported; 2 wrong usage; 3 the input could\n" +
			"not be read, or has nothing to migrate.",
		Example: "  kubectl sallyport migrate -f deploy/ > sallyport.yaml\n" +
			"  kubectl sallyport migrate -n bookshop --patches --report report.txt\n" +
			"  kustomize build . | kubectl sallyport migrate -f - --vault-url https://vault.example.com:8200",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return ended(p.runMigrate(c.Context(), flags)) },
	}
	f := c.Flags()
	f.StringSliceVarP(&flags.files, "filename", "f", nil, "files or directories of manifests, - for standard input; without it, the cluster is read")
	f.BoolVarP(&flags.allNamespaces, "all-namespaces", "A", false, "read all namespaces of the cluster")
	f.BoolVar(&flags.patches, "patches", false, "write strategic merge patches in place of whole workloads")
	f.StringVar(&flags.vaultURL, "vault-url", "", "address of Vault, for what names none")
	f.StringVar(&flags.ca, "vault-ca", "", "CONFIGMAP/KEY with the authority of Vault's certificate, for what has it in a file or names none")
	f.StringArrayVar(&flags.keys, "keys", nil, "SECRET=KEY,KEY…: the keys of a synced Secret that no manifest names; may be given several times")
	f.StringVar(&flags.report, "report", "", "file for the report, in place of standard error")
	f.StringVarP(&p.output, "output", "o", "", "format of the output: yaml or json")
	return c
}

func (p *program) runMigrate(ctx context.Context, flags *migrateFlags) error {
	options, err := flags.options()
	if err != nil {
		return usageError{err}
	}
	if p.output != "" && p.output != "yaml" && p.output != "json" {
		return usageError{fmt.Errorf("-o knows yaml, json, not %q", p.output)}
	}
	in, err := p.inventory(ctx, flags)
	if err != nil {
		return unanswered{err}
	}
	result, err := migrate.Migrate(ctx, in, options)
	if err != nil {
		return err
	}
	manifests, err := result.Manifests(flags.patches)
	if err != nil {
		return err
	}
	if err := p.writeManifests(manifests); err != nil {
		return err
	}
	if err := p.writeReport(result, flags.report); err != nil {
		return err
	}
	if result.Lossy() {
		return errWrong
	}
	return nil
}

// inventory reads manifests or the cluster.
func (p *program) inventory(ctx context.Context, flags *migrateFlags) (*migrate.Inventory, error) {
	if len(flags.files) > 0 {
		return migrate.Read(flags.files, p.In, *p.flags.Namespace)
	}
	to, err := cluster.Connect(p.flags)
	if err != nil {
		return nil, err
	}
	namespace := to.Namespace
	if flags.allNamespaces {
		namespace = ""
	}
	in, err := migrate.FromCluster(ctx, to, namespace)
	return in, cluster.Explain(err)
}

func (f *migrateFlags) options() (migrate.Options, error) {
	options := migrate.Options{VaultURL: f.vaultURL, Keys: map[string][]string{}}
	if f.ca != "" {
		name, key, both := strings.Cut(f.ca, "/")
		if !both || name == "" || key == "" {
			return options, fmt.Errorf("--vault-ca is CONFIGMAP/KEY, such as vault-ca/ca.crt, not %q", f.ca)
		}
		options.CA = &v1alpha1.ConfigMapKeyReference{Name: name, Key: key}
	}
	for _, given := range f.keys {
		name, keys, both := strings.Cut(given, "=")
		if !both || name == "" || keys == "" {
			return options, fmt.Errorf("--keys is SECRET=KEY,KEY…, such as db=username,password, not %q", given)
		}
		options.Keys[name] = append(options.Keys[name], strings.Split(keys, ",")...)
	}
	if len(f.files) > 0 && f.allNamespaces {
		return options, errors.New("--all-namespaces is for the cluster, and -f for manifests: give one of both")
	}
	return options, nil
}

func (p *program) writeManifests(manifests []map[string]any) error {
	if p.output == "json" {
		return p.print(map[string]any{"apiVersion": "v1", "kind": "List", "items": manifests}, nil)
	}
	var out strings.Builder
	if err := migrate.WriteYAML(&out, manifests); err != nil {
		return err
	}
	_, err := io.WriteString(p.Out, out.String())
	return err
}

func (p *program) writeReport(result *migrate.Result, file string) error {
	var text strings.Builder
	for _, note := range result.Notes {
		text.WriteString(note.String() + "\n")
	}
	if file == "" {
		_, err := io.WriteString(p.ErrOut, text.String())
		return err
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return unanswered{fmt.Errorf("--report: %w", err)}
	}
	return nil
}
