package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// version is set by the linker.
var version = "devel"

const usageText = `Sallyport lets the secrets of HashiCorp Vault reach the pods that may use them,
and leaves no copy behind.

Usage:
  sallyport controller [flags]   reconcile VaultConfigs, Connections and VaultTasks, and serve the resolver
  sallyport node [flags]         serve the CSI driver csi.sallyport.dev on one node
  sallyport version              print the version

Run "sallyport MODE --help" for the flags of a mode.
`

// Exit codes of the program.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// maxVerbosity is the most talkative log level. From level 8 on client-go logs the bodies of responses, and with them
// Secrets.
const maxVerbosity = 5

// mode is one way to run the program: it declares its flags and then runs until ctx ends.
type mode interface {
	flags(set *flag.FlagSet)
	validate() error
	// reservedMemory is how many bytes of the container's memory something else than the heap may take.
	reservedMemory() int64
	run(ctx context.Context, log logr.Logger) error
}

// Main runs the mode that the arguments name and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = fmt.Fprint(stderr, usageText)
		return exitUsage
	}
	var m mode
	switch args[0] {
	case "controller":
		m = &controllerMode{}
	case "node":
		m = &nodeMode{}
	case "version", "--version":
		_, _ = fmt.Fprintln(stdout, version)
		return exitOK
	case "help", "--help", "-h":
		_, _ = fmt.Fprint(stdout, usageText)
		return exitOK
	default:
		_, _ = fmt.Fprintf(stderr, "sallyport: there is no mode %q\n\n%s", args[0], usageText)
		return exitUsage
	}
	return start(m, args[0], args[1:], stderr)
}

// gcPercent is how much garbage the heap may hold, in percent of what is in use, unless GOGC says so. Most of the
// controller's heap is its cache, which is as large as there are objects, so that half of Go's default saves more
// memory than it costs time.
const gcPercent = 50

func start(m mode, name string, args []string, stderr io.Writer) int {
	set := flag.NewFlagSet("sallyport "+name, flag.ContinueOnError)
	set.SetOutput(stderr)
	m.flags(set)
	options := zap.Options{}
	options.BindFlags(set)
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	if set.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "sallyport %s: unexpected argument %q\n", name, set.Arg(0))
		return exitUsage
	}
	if options.Level != nil && options.Level.Enabled(zapcore.Level(-maxVerbosity-1)) {
		_, _ = fmt.Fprintf(stderr, "sallyport %s: --zap-log-level must be at most %d: beyond that Kubernetes' client library logs what it reads, Secrets among it\n", name, maxVerbosity)
		return exitUsage
	}
	if err := m.validate(); err != nil {
		_, _ = fmt.Fprintf(stderr, "sallyport %s: %v\n", name, err)
		return exitUsage
	}
	log := newQuiet(zap.New(zap.UseFlagOptions(&options), zap.WriteTo(stderr)))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limitMemory(log, cgroupRoot, m.reservedMemory())
	log.Info("starting", "mode", name, "version", version)
	if err := m.run(ctrl.SetupSignalHandler(), log); err != nil {
		log.Error(err, "stopped")
		return exitError
	}
	log.Info("stopped")
	return exitOK
}

// fromEnvironment is the default of a flag that the manifests set through the downward API.
func fromEnvironment(name string) string { return os.Getenv(name) }

// serveHTTP serves a handler until ctx ends.
func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	defer stop()
	if err := server.ListenAndServe(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", address, err)
	}
	return nil
}
