package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/ownvault"
	"sallyport.dev/sallyport/internal/cli/storing"
)

// writeCommand is write, with its flags.
type writeCommand struct {
	*program
	config, account, engine, name, sealTo, passwordPolicy string
	generate, patch, overwrite                            bool
	length                                                int32
	timeout                                               time.Duration
}

func newWrite(p *program) *cobra.Command {
	o := &writeCommand{program: p}
	c := &cobra.Command{
		Use:   "write PATH KEY...",
		Short: "Have a VaultTask store values that are typed at a prompt, or generated",
		Long: "Have a VaultTask store values at a path of a KV engine. They are typed at a prompt (or one is read from standard\n" +
			"input), and wrapped by your own token of Vault (VAULT_ADDR, VAULT_TOKEN): the cluster sees nothing but a token that\n" +
			"works once. With --generate they are made by the controller, or by Vault with --password-policy, and nobody sees\n" +
			"them, unless they are sealed to an age key. What is there is not replaced without --patch or --overwrite.",
		Example: "  kubectl sallyport write bookshop/db password --config main\n" +
			"  kubectl sallyport write bookshop/db password --config main --generate --seal-to age1…",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              p.run(o.write),
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "the VaultConfig whose identity writes: NAME, or NAMESPACE/NAME")
	f.StringVar(&o.account, "service-account", "", "service account of this namespace to log in as, where the VaultConfig has workload: true")
	f.StringVar(&o.engine, "engine", "", "path of the KV engine; by default that of the VaultConfig")
	f.StringVar(&o.name, "name", "", "name of the VaultTask; by default one is made")
	f.BoolVar(&o.generate, "generate", false, "have the values generated, instead of typing them")
	f.Int32Var(&o.length, "length", 32, "characters of a generated value")
	f.StringVar(&o.passwordPolicy, "password-policy", "", "have Vault generate the values, by this password policy")
	f.BoolVar(&o.patch, "patch", false, "change these keys of a secret that exists, and leave the others")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what is there")
	f.StringVar(&o.sealTo, "seal-to", "", "public age key: the values are sealed to it in the task's status, for kubectl sallyport open")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for the task")
	_ = c.MarkFlagRequired("config")
	_ = c.RegisterFlagCompletionFunc("config", o.completeConfig)
	return c
}

func (p *writeCommand) write(ctx context.Context, to *cluster.Cluster, args []string) error {
	p.generate = p.generate || p.passwordPolicy != ""
	keys := args[1:]
	task, err := p.task(to.Namespace, args[0], keys)
	if err != nil {
		return err
	}
	var needed *corev1.Secret
	if p.generate {
		err = to.Create(ctx, task)
	} else {
		needed, err = p.store(ctx, to, task, keys)
	}
	if err != nil {
		return err
	}
	outcome, err := storing.Settle(ctx, to, task, needed, p.timeout)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted; VaultTask %s/%s goes on: see kubectl sallyport why vaulttask/%s -n %s",
			task.Namespace, task.Name, task.Name, task.Namespace)
	}
	if err != nil {
		return err
	}
	said := shownOn(p.Out, outcome.Message)
	if _, err := fmt.Fprintf(p.Out, "VaultTask %s/%s: %s\n", task.Namespace, task.Name, said); err != nil {
		return err
	}
	if !outcome.Complete {
		return errWrong
	}
	return nil
}

// store asks for the values, and has the task store them.
func (p *writeCommand) store(
	ctx context.Context, to *cluster.Cluster, task *v1alpha1.VaultTask, keys []string,
) (*corev1.Secret, error) {
	own, err := ownvault.FromEnvironment(p.environment)
	if err != nil {
		return nil, fmt.Errorf("%w; a value that is typed goes to Vault wrapped, with your own token. --generate needs none", err)
	}
	values, err := p.values(ctx, keys)
	if err != nil {
		return nil, err
	}
	return storing.Store(ctx, to, own, task, values)
}

// checkArguments finds what no VaultTask could be made of, before anything is asked for.
func (p *writeCommand) checkArguments(path string, keys []string) error {
	named := map[string]bool{}
	for _, key := range keys {
		switch {
		case strings.Contains(key, "="):
			return errors.New("name keys only: a value on the command line would be seen by others, and kept in the shell's history")
		case key == "":
			return errors.New("a KEY is empty")
		case named[key]:
			return fmt.Errorf("the key %q is named twice", key)
		}
		named[key] = true
	}
	space, name, both := strings.Cut(p.config, "/")
	switch {
	case path == "":
		return errors.New("PATH is empty")
	case space == "" || both && name == "" || strings.Contains(name, "/"):
		return fmt.Errorf("--config is NAME or NAMESPACE/NAME of a VaultConfig, not %q", p.config)
	case p.patch && p.overwrite:
		return errors.New("--patch keeps the other keys, and --overwrite does not: give one of both")
	}
	return nil
}

// task is the VaultTask, without values.
func (p *writeCommand) task(namespace, path string, keys []string) (*v1alpha1.VaultTask, error) {
	if err := p.checkArguments(path, keys); err != nil {
		return nil, usageError{err}
	}
	ref := v1alpha1.VaultConfigReference{Name: p.config}
	if space, name, found := strings.Cut(p.config, "/"); found {
		ref = v1alpha1.VaultConfigReference{Namespace: space, Name: name}
	}
	task := &v1alpha1.VaultTask{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.name},
		Spec: v1alpha1.VaultTaskSpec{
			TaskTarget: v1alpha1.TaskTarget{VaultConfigRef: &ref, ServiceAccountName: p.account},
			Operation:  v1alpha1.OperationWrite, EnginePath: p.engine, SecretPath: path,
		},
	}
	if p.name == "" {
		task.GenerateName = "write-"
	}
	if p.sealTo != "" {
		task.Spec.Result = &v1alpha1.TaskResultRequest{SealTo: p.sealTo}
	}
	if p.patch {
		task.Spec.Operation = v1alpha1.OperationPatch
	}
	if !p.generate {
		if !p.patch && !p.overwrite {
			task.Spec.CAS = new(int64(0))
		}
		return task, nil
	}
	if p.overwrite {
		task.Spec.Overwrite = new(true)
	}
	for _, key := range keys {
		made := v1alpha1.GeneratedValue{Key: key, PasswordPolicy: p.passwordPolicy}
		if p.passwordPolicy == "" {
			made.Length = &p.length
		}
		task.Spec.Generate = append(task.Spec.Generate, made)
	}
	return task, nil
}

// values asks for each value at a terminal, without an echo, and twice, for nobody sees what he types. Otherwise the
// one value is what standard input holds, without a line break at its end.
func (p *writeCommand) values(ctx context.Context, keys []string) (map[string]any, error) {
	values := map[string]any{}
	file, is := p.In.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		if len(keys) > 1 {
			return nil, usageError{errors.New("standard input is one value; type several at a terminal, or write one at a time, with --patch")}
		}
		content, err := readFrom(p.In, "-")
		if err != nil {
			return nil, err
		}
		content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
		values[keys[0]], err = valid(keys[0], content)
		return values, err
	}
	for _, key := range keys {
		typed, err := p.ask(ctx, file, key+": ")
		if err != nil {
			return nil, err
		}
		again, err := p.ask(ctx, file, key+" once more: ")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(typed, again) {
			return nil, fmt.Errorf("the two values of %s differ; nothing was stored", key)
		}
		if values[key], err = valid(key, typed); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// ask reads a line without an echo. The read itself ends with the line only, whatever signal comes meanwhile: who is
// interrupted does not wait for it, and leaves the terminal as it was.
func (p *writeCommand) ask(ctx context.Context, terminal *os.File, prompt string) ([]byte, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprint(p.ErrOut, prompt)
	defer func() { _, _ = fmt.Fprintln(p.ErrOut) }()
	type line struct {
		typed []byte
		err   error
	}
	read := make(chan line, 1)
	go func() {
		var entered line
		entered.typed, entered.err = term.ReadPassword(fd)
		read <- entered
	}()
	select {
	case <-ctx.Done():
		return nil, errors.Join(errInterrupted, term.Restore(fd, before))
	case entered := <-read:
		return entered.typed, entered.err
	}
}

// errInterrupted ends a command whose user thought better of it.
var errInterrupted = errors.New("interrupted; nothing was stored")

func valid(key string, value []byte) (string, error) {
	switch {
	case len(value) == 0:
		return "", fmt.Errorf("the value of %s is empty; nothing was stored", key)
	case !utf8.Valid(value):
		return "", fmt.Errorf("the value of %s is no UTF-8 text, and Vault keeps text: encode it in base64", key)
	}
	return string(value), nil
}

// completeConfig completes the names of VaultConfigs.
func (p *writeCommand) completeConfig(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	to, err := cluster.Connect(p.flags)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	configs := &v1alpha1.VaultConfigList{}
	if err := to.List(c.Context(), configs, client.InNamespace(to.Namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for n := range configs.Items {
		names = append(names, configs.Items[n].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
