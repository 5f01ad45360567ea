package launcher

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `Puts the values of mounted Connections into the environment of a program, and becomes it.

  sallyport-exec --from=[PREFIX=]DIRECTORY ... [flags] -- COMMAND [ARGUMENT ...]
  sallyport-exec --install=DIRECTORY
  sallyport-exec --version

  --from=[PREFIX=]DIRECTORY  where a Connection is mounted. Each file in it becomes a variable with the file's name,
                             behind the prefix. May be there more than once.
  --only=FILE[,FILE ...]     only these files
  --upper                    variables in upper case, and _ for what cannot be part of a name: tls.crt is TLS_CRT
  --on-change=ignore         what to do when a value changes: nothing, the program keeps what it has (the default);
             =restart          end the program, and start it with the new values;
             =signal:HUP       send it a signal, for programs that read the files themselves;
             =exec:COMMAND     run a command with the new values (split at spaces, without a shell)
  --debounce=2s              for how long nothing must change before that is done
  --stop-timeout=10s         how long a program that is restarted has between SIGTERM and SIGKILL
  --install=DIRECTORY        copy this program there, for the other containers of a pod, and end

Exit code: the program's own, and 128 and the number of the signal that ended it; 127 if it is not there, 126 if it
cannot be run, 125 for everything else that kept it from starting.
`

// options are what the arguments say.
type options struct {
	sources     []source
	only        []string
	upper       bool
	onChange    reaction
	debounce    time.Duration
	stopTimeout time.Duration
	install     string
	version     bool
	command     []string
}

// source is a directory at which a Connection is mounted.
type source struct {
	prefix    string
	directory string
}

type reactionKind int

const (
	ignore reactionKind = iota
	restart
	notify
	execute
)

// reaction is what to do when a value changes.
type reaction struct {
	kind   reactionKind
	signal syscall.Signal
	// command is what is run, for execute.
	command []string
}

// parse returns nil if help or the version was asked for, which it prints.
func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("sallyport-exec", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("from", "", o.addSource)
	flags.Func("only", "", o.addOnly)
	flags.BoolVar(&o.upper, "upper", false, "")
	flags.Func("on-change", "", o.setOnChange)
	flags.DurationVar(&o.debounce, "debounce", 2*time.Second, "")
	flags.DurationVar(&o.stopTimeout, "stop-timeout", 10*time.Second, "")
	flags.StringVar(&o.install, "install", "", "")
	flags.BoolVar(&o.version, "version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, usage)
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; see sallyport-exec --help", err)
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, version)
		return nil, err
	}
	o.command = flags.Args()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *options) validate() error {
	switch {
	case o.install != "" && len(o.sources)+len(o.command) > 0:
		return errors.New("--install stands alone")
	case o.install != "":
		return nil
	case len(o.command) == 0 || o.command[0] == "":
		return errors.New("which program? Name it behind --, as in sallyport-exec --from=/run/db -- server --port=80")
	case len(o.sources) == 0:
		return errors.New("--from is missing: say where a Connection is mounted, as in --from=/run/db")
	case o.debounce < 0 || o.stopTimeout < 0:
		return errors.New("--debounce and --stop-timeout cannot be negative")
	}
	return nil
}

func (o *options) addSource(text string) error {
	prefix, directory, found := strings.Cut(text, "=")
	if !found || strings.Contains(prefix, "/") {
		prefix, directory = "", text
	}
	switch {
	case prefix != "" && !isName(prefix):
		return fmt.Errorf("%q cannot begin the name of a variable: letters, digits and _, and no digit first", prefix)
	case !filepath.IsAbs(directory):
		return errors.New("the directory must begin with /")
	}
	o.sources = append(o.sources, source{prefix, filepath.Clean(directory)})
	return nil
}

func (o *options) addOnly(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name == "" || strings.Contains(name, "/") {
			return fmt.Errorf("%q is no name of a file", name)
		}
		o.only = append(o.only, name)
	}
	return nil
}

func (o *options) setOnChange(text string) error {
	kind, detail, _ := strings.Cut(text, ":")
	switch {
	case text == "ignore":
		o.onChange = reaction{}
	case text == "restart":
		o.onChange = reaction{kind: restart}
	case kind == "signal":
		number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(detail), "SIG"))
		if number == 0 {
			return fmt.Errorf("%q is no signal: say HUP, USR1 or the like", detail)
		}
		o.onChange = reaction{kind: notify, signal: number}
	case kind == "exec" && len(strings.Fields(detail)) > 0:
		o.onChange = reaction{kind: execute, command: strings.Fields(detail)}
	default:
		return errors.New("say ignore, restart, signal:HUP or exec:COMMAND")
	}
	return nil
}

// isName tells whether text can be a variable's name that every shell takes.
func isName(text string) bool {
	for i, c := range []byte(text) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}

// upperName is a name in upper case, with _ for what cannot be part of one.
func upperName(text string) string {
	upper := []byte(strings.ToUpper(text))
	for i, c := range upper {
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			upper[i] = '_'
		}
	}
	return string(upper)
}
