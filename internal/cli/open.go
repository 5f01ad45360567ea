package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/sealed"
	"sallyport.dev/sallyport/internal/fault"
)

// openCommand is open, with its flags.
type openCommand struct {
	*program
	identity, file, key string
}

func newOpen(p *program) *cobra.Command {
	o := &openCommand{program: p}
	c := &cobra.Command{
		Use:   "open [vaulttask/NAME]",
		Short: "Open the sealed result of a VaultTask with an age key",
		Example: "  kubectl sallyport open vaulttask/make-password -i key.txt\n" +
			"  kubectl sallyport open vaulttask/make-password -i key.txt --key password | psql …\n" +
			"  kubectl sallyport open -f result.age -i key.txt",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeObjects([]string{"vaulttask"}),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (o.file == "") {
				return errors.New("name a VaultTask, or a file with -f")
			}
			if o.file != "" {
				return withoutCluster(p, c, func(context.Context) error { return o.ofFile() })
			}
			return p.run(o.ofTask)(c, args)
		},
	}
	p.addOutput(c)
	c.Flags().StringVarP(&o.identity, "identity", "i", "", "file with the age key, - for standard input")
	c.Flags().StringVarP(&o.file, "filename", "f", "", "file with a sealed result, - for standard input; no cluster is asked")
	c.Flags().StringVar(&o.key, "key", "", "print the value of this key alone, as it is")
	_ = c.MarkFlagRequired("identity")
	return c
}

func (p *openCommand) ofFile() error {
	if p.file == "-" && p.identity == "-" {
		return usageError{errors.New("only one of key and result can come from standard input")}
	}
	result, err := readFrom(p.In, p.file)
	if err != nil {
		return err
	}
	return p.openSealed(string(result), "")
}

func (p *openCommand) ofTask(ctx context.Context, to *cluster.Cluster, args []string) error {
	kind, name, err := object(args)
	if err != nil {
		return err
	}
	if kind.Name != fault.KindVaultTask {
		return usageError{fmt.Errorf("open is for vaulttask, not for %s", strings.ToLower(kind.Name))}
	}
	task := &v1alpha1.VaultTask{}
	if err := to.Get(ctx, client.ObjectKey{Namespace: to.Namespace, Name: name}, task); err != nil {
		return err
	}
	switch {
	case task.Spec.Result == nil || task.Spec.Result.SealTo == "":
		return fmt.Errorf("VaultTask %s/%s seals nothing: its result.sealTo names no key", to.Namespace, name)
	case task.Status.Result == nil || task.Status.Result.Sealed == "":
		return fmt.Errorf("VaultTask %s/%s has no sealed result yet; see kubectl sallyport why vaulttask/%s", to.Namespace, name, name)
	}
	return p.openSealed(task.Status.Result.Sealed, task.Spec.Result.SealTo)
}

// openSealed opens a result and prints it. It was sealed to the recipient, if that is known.
func (p *openCommand) openSealed(result, recipient string) error {
	keys, err := readFrom(p.In, p.identity)
	if err != nil {
		return err
	}
	identities, err := sealed.Identities(keys)
	if err != nil {
		return err
	}
	values, err := sealed.Open(result, identities)
	if errors.Is(err, sealed.ErrOtherKey) {
		to := "somebody else"
		if recipient != "" {
			to = recipient
		}
		return fmt.Errorf("it is sealed to %s, and your key is %s", to, strings.Join(sealed.Recipients(identities), ", "))
	}
	if err != nil {
		return err
	}
	if p.key != "" {
		return p.printKey(values)
	}
	if p.output == "" {
		p.output = "json"
	}
	return p.print(values, func(w io.Writer) { _ = json.NewEncoder(w).Encode(values) })
}

// printKey prints one value, as a program would use it.
func (p *openCommand) printKey(values map[string]any) error {
	value, found := values[p.key]
	if !found {
		return fmt.Errorf("there is no key %q; there are %s", p.key, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
	text, is := value.(string)
	if !is {
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	if onTerminal(p.Out) {
		text = harmless(text) + "\n"
	}
	_, err := io.WriteString(p.Out, text)
	return err
}

// maxInput bounds what is read from a file or standard input: nothing here is larger than an object of the API
// server's.
const maxInput = 4 << 20

// readFrom reads a file, or standard input.
func readFrom(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		content, err := io.ReadAll(io.LimitReader(in, maxInput+1))
		if err == nil && len(content) > maxInput {
			err = fmt.Errorf("standard input has more than %d MiB", maxInput>>20)
		}
		return content, err
	}
	content, err := os.ReadFile(name)
	if err != nil { // not as one of the cluster
		return nil, errors.New(err.Error())
	}
	return content, nil
}
