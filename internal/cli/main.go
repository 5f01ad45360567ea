// Package cli is kubectl's plugin for Sallyport: the commands, their flags, what they print, and how they end. What
// they find out is found out in the packages below.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sallyport.dev/sallyport/internal/cli/cluster"
)

// version is set by the linker.
var version = "devel"

// Exit codes of the program; docs/reference/kubectl.md has them.
const (
	exitOK = 0
	// exitWrong: what was asked about is not well.
	exitWrong = 1
	exitUsage = 2
	// exitUnanswered: the question could not be answered: no cluster, no rights, no such object, no Sallyport.
	exitUnanswered = 3
	// exitPipe is what a shell says of a program that SIGPIPE ended.
	exitPipe = 128 + int(syscall.SIGPIPE)
)

// errWrong ends a command that has said what is wrong.
var errWrong = errors.New("something is wrong")

// errUnread ends a command whose output nobody reads on. The network has closed pipes of its own.
var errUnread = errors.New("nobody reads the output")

// unanswered is an error of a command, as opposed to one of its usage.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// program is what all commands share.
type program struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	// environment has the variables of the user.
	environment func(string) string
	// colours may be used where the output is a terminal.
	colours bool
	output  string
	// everywhere: all namespaces.
	everywhere bool
}

// Main runs the command that the arguments name and returns the exit code. The environment is that of the user, as
// os.Getenv tells it.
func Main(args []string, streams genericiooptions.IOStreams, environment func(string) string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams.Out, streams.ErrOut = outlet{streams.Out}, outlet{streams.ErrOut}
	p := &program{
		IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), environment: environment,
		colours: environment("NO_COLOR") == "",
	}
	root := p.root()
	root.SetArgs(args)
	return p.exit(root.ExecuteContext(ctx))
}

// exit says what went wrong, in one sentence, and returns the exit code.
func (p *program) exit(err error) int {
	var failed unanswered
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errWrong):
		return exitWrong
	case errors.Is(err, errUnread):
		return exitPipe
	case errors.As(err, &failed):
		_, _ = fmt.Fprintf(p.ErrOut, "kubectl sallyport: %s\n", strings.TrimSpace(harmless(failed.Error())))
		return exitUnanswered
	default:
		first, _, _ := strings.Cut(err.Error(), "\n")
		_, _ = fmt.Fprintf(p.ErrOut, "kubectl sallyport: %s; see kubectl sallyport --help\n", first)
		return exitUsage
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-sallyport",
		Short: "See what Sallyport does, and why something waits for it",
		Long: "See what Sallyport does in a cluster, and why something waits for it. It acts with your own rights.\n\n" +
			"Exit codes: 0 all is well; 1 something is wrong, and was named; 2 wrong usage; 3 the question could not be\n" +
			"answered (no cluster, no rights, no such object, no Sallyport).",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl sallyport"},
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(p.why(), p.status(), p.mounts(), p.check())
	root.AddCommand(newPolicy(p), newRender(p), newWrite(p), newOpen(p), p.migrate())
	root.AddCommand(p.actions()...)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = knownTopic
		}
	}
	return root
}

// knownTopic refuses help for what is no command.
func knownTopic(c *cobra.Command, args []string) error {
	if found, _, err := c.Root().Find(args); len(args) > 0 && (err != nil || found == c.Root()) {
		return fmt.Errorf("unknown command %q for %q", args[0], c.Root().CommandPath())
	}
	return nil
}

// run makes a command's work of what needs a cluster.
func (p *program) run(do func(context.Context, *cluster.Cluster, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := p.checkOutput(); err != nil {
			return err
		}
		to, err := cluster.Connect(p.flags)
		if err != nil {
			return unanswered{err}
		}
		return ended(do(c.Context(), to, args))
	}
}

// withoutCluster makes a command's work of what needs none.
func withoutCluster(p *program, c *cobra.Command, do func(context.Context) error) error {
	if err := p.checkOutput(); err != nil {
		return err
	}
	return ended(do(c.Context()))
}

// ended turns an error of a command's work into one that says how the program ends.
func ended(err error) error {
	var (
		usage  usageError
		failed unanswered
	)
	told := errors.As(err, &usage) || errors.As(err, &failed)
	if err == nil || told || errors.Is(err, errWrong) || errors.Is(err, errUnread) {
		return err
	}
	return unanswered{cluster.Explain(err)}
}

// usageError is found only when a command runs.
type usageError struct{ error }
