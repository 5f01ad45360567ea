package launcher

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// asLauncher has the test's own program be sallyport-exec. It takes in orphans then, as the first process of a
// container does.
const asLauncher = "TEST_AS_LAUNCHER"

func TestMain(m *testing.M) {
	if os.Getenv(asLauncher) == "" {
		os.Exit(m.Run())
	}
	_ = os.Unsetenv(asLauncher)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// secret is in every volume of these tests, and in no line that is printed by any but the program itself.
const secret = "s3cr3t-Tr0ub4dor"

// mount is a directory as the node plugin makes it.
type mount struct {
	t    *testing.T
	path string
	made int
}

func newMount(t *testing.T, files map[string]string) *mount {
	t.Helper()
	m := &mount{t: t, path: t.TempDir()}
	m.write(files)
	return m
}

// write replaces the files by others, in one swap, and removes the former.
func (m *mount) write(files map[string]string) {
	m.t.Helper()
	g := NewWithT(m.t)
	m.made++
	data := fmt.Sprintf("..2026_01_02_15_04_05.%d", m.made)
	g.Expect(os.Mkdir(filepath.Join(m.path, data), 0o755)).To(Succeed())
	for name, content := range files {
		path := filepath.Join(m.path, data, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), 0o444)).To(Succeed())
		_ = os.Symlink(filepath.Join(dataLink, name), filepath.Join(m.path, name))
	}
	former, _ := os.Readlink(filepath.Join(m.path, dataLink))
	g.Expect(os.Symlink(data, filepath.Join(m.path, "..data_new"))).To(Succeed())
	g.Expect(os.Rename(filepath.Join(m.path, "..data_new"), filepath.Join(m.path, dataLink))).To(Succeed())
	if former != "" {
		g.Expect(os.RemoveAll(filepath.Join(m.path, former))).To(Succeed())
	}
}

// output is what a process prints, which others may read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a running sallyport-exec.
type process struct {
	*exec.Cmd
	stdout, stderr output
	ended          chan int
}

func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	p := &process{Cmd: exec.Command(self, args...), ended: make(chan int, 1)}
	p.Env = append([]string{asLauncher + "=yes", "PATH=" + os.Getenv("PATH")}, environ...)
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	// A group of their own, so that the program of a launcher that is killed does not go on.
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	NewWithT(t).Expect(p.Start()).To(Succeed())
	t.Cleanup(func() { _ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	go func() {
		_ = p.Wait()
		p.ended <- codeOf(p.ProcessState)
	}()
	return p
}

// limit is for a machine that is very busy.
const limit = time.Minute

func codeOf(state *os.ProcessState) int {
	if status, is := state.Sys().(syscall.WaitStatus); is {
		return exitCode(status)
	}
	return -1
}

func (p *process) code(t *testing.T) int {
	t.Helper()
	select {
	case code := <-p.ended:
		return code
	case <-time.After(limit):
		t.Fatalf("it does not end; it printed %s%s", p.stdout.String(), p.stderr.String())
		return -1
	}
}

// launch runs sallyport-exec until it ends.
func launch(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, environ, args...)
	code = p.code(t)
	return p.stdout.String(), p.stderr.String(), code
}

func TestVariables(t *testing.T) {
	big := strings.Repeat("x", maxVariable)
	for name, test := range map[string]struct {
		files map[string]string
		args  []string
		// want are lines of env; fault is what standard error says.
		want  []string
		fault string
	}{
		"each file is one, as it is": {files: map[string]string{"PGPASSWORD": secret + "\n $'\"", "host": ""}, want: []string{"PGPASSWORD=" + secret, " $'\"", "host="}},
		"behind a prefix":            {files: map[string]string{"host": "db"}, args: []string{"--from=DB_=DIR"}, want: []string{"DB_host=db"}},
		"in upper case":              {files: map[string]string{"tls.crt": "c", "user-name": "u"}, args: []string{"--upper", "--from=db_=DIR"}, want: []string{"DB_TLS_CRT=c", "DB_USER_NAME=u"}},
		"some of them":               {files: map[string]string{"a": "1", "b": "2", "tls.crt": "c"}, args: []string{"--only=a,b", "--from=DIR"}, want: []string{"a=1", "b=2"}},
		"of no file in a directory":  {files: map[string]string{"a": "1", "conf.d/app.conf": "c"}, want: []string{"a=1"}},
		"they replace what is there": {files: map[string]string{"FORMER": "new"}, want: []string{"FORMER=new"}},
		"no name":                    {files: map[string]string{"tls.crt": secret}, fault: "/tls.crt makes no name of a variable: --upper would make TLS_CRT of it, and --only leaves it out"},
		"a digit first":              {files: map[string]string{"1st": secret}, args: []string{"--upper", "--from=DIR"}, fault: "cannot begin with a digit: give a prefix"},
		"two of a name":              {files: map[string]string{"a-b": secret, "a.b": secret}, args: []string{"--upper", "--from=DIR"}, fault: "/a-b and "},
		"one volume twice":           {files: map[string]string{"a": secret}, args: []string{"--from=DIR", "--from=DIR"}, fault: "both make the variable a: give one of them a prefix"},
		"no such file":               {files: map[string]string{"a": secret}, args: []string{"--only=b", "--from=DIR"}, fault: "--only names the file b, which no Connection has"},
		"a NUL byte":                 {files: map[string]string{"a": secret + "\x00"}, fault: "/a holds a NUL byte"},
		"too long":                   {files: map[string]string{"a": big}, fault: "the file a is longer than the 128 KiB"},
		"too long with its name":     {files: map[string]string{"a": big[:maxVariable-2]}, fault: "/a is longer than the 128 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m := newMount(t, test.files)
			args := test.args
			if args == nil {
				args = []string{"--from=DIR"}
			}
			for i := range args {
				args[i] = strings.Replace(args[i], "DIR", m.path, 1)
			}
			stdout, stderr, code := launch(t, []string{"FORMER=old"}, append(args, "--", "env")...)
			if test.fault != "" {
				g.Expect(code).To(Equal(exitFailed))
				g.Expect(stderr).To(And(HavePrefix("sallyport-exec: "), ContainSubstring(test.fault)))
				g.Expect(strings.Count(stderr, "\n")).To(Equal(1), "one sentence")
				g.Expect(stderr).NotTo(ContainSubstring(secret))
				return
			}
			g.Expect(stderr).To(BeEmpty())
			g.Expect(code).To(Equal(0))
			lines := slices.DeleteFunc(strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"), func(line string) bool {
				return strings.HasPrefix(line, "PATH=") || line == "FORMER=old"
			})
			g.Expect(lines).To(ConsistOf(test.want))
		})
	}
}

func TestTenMebibytesOfEnvironmentAreRefused(t *testing.T) {
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("v%d", i)] = strings.Repeat("x", 100<<10)
	}
	for _, flag := range []string{"--upper", "--on-change=restart"} {
		g := NewWithT(t)
		_, stderr, code := launch(t, nil, "--from="+newMount(t, files).path, flag, "env")
		g.Expect(code).To(Equal(exitFailed))
		g.Expect(stderr).To(ContainSubstring("more than Linux takes: choose files by --only"))
		g.Expect(stderr).NotTo(ContainSubstring("xxx"))
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	m := newMount(t, map[string]string{"a": secret})
	noProgram := filepath.Join(t.TempDir(), "text")
	noLoader := filepath.Join(t.TempDir(), "script")
	g := NewWithT(t)
	g.Expect(os.WriteFile(noProgram, []byte("text"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(noLoader, []byte("#!/no/such/shell\n"), 0o755)).To(Succeed())
	from := "--from=" + m.path
	for name, test := range map[string]struct {
		args  []string
		code  int
		fault string
	}{
		"no program named":         {[]string{from}, exitFailed, "which program? Name it behind --"},
		"no mount named":           {[]string{"env"}, exitFailed, "--from is missing"},
		"no such directory":        {[]string{"--from=/nowhere/at/all", "env"}, exitFailed, "there is no /nowhere/at/all that can be read in this container: mount the Connection's volume there"},
		"no mount there":           {[]string{"--from=" + t.TempDir(), "env"}, exitFailed, "no Connection is mounted at"},
		"no absolute directory":    {[]string{"--from=run/db", "env"}, exitFailed, "must begin with /"},
		"a bad prefix":             {[]string{"--from=1=/run/db", "env"}, exitFailed, "cannot begin the name of a variable"},
		"an unknown flag":          {[]string{"--form=/run/db", "env"}, exitFailed, "see sallyport-exec --help"},
		"an unknown reaction":      {[]string{from, "--on-change=reload", "env"}, exitFailed, "say ignore, restart, signal:HUP or exec:COMMAND"},
		"an unknown signal":        {[]string{from, "--on-change=signal:HUB", "env"}, exitFailed, `"HUB" is no signal`},
		"no such program":          {[]string{from, "no-such-program"}, exitNotFound, "no-such-program: there is no such program in this container"},
		"no such path":             {[]string{from, "/no/such/program"}, exitNotFound, "there is no such program"},
		"a directory":              {[]string{from, "/tmp"}, exitNotExecutable, "permission denied: it is a directory, or its file mode lacks x"},
		"no program at all":        {[]string{from, noProgram}, exitNotExecutable, "no program for this machine"},
		"a script without a shell": {[]string{from, noLoader}, exitNotFound, "the interpreter or loader that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, flags := range [][]string{nil, {"--on-change=restart"}} {
				g := NewWithT(t)
				_, stderr, code := launch(t, nil, append(slices.Clone(flags), test.args...)...)
				g.Expect(stderr).To(And(HavePrefix("sallyport-exec: "), ContainSubstring(test.fault)))
				g.Expect(strings.Count(stderr, "\n")).To(Equal(1), "one sentence: "+stderr)
				g.Expect(code).To(Equal(test.code))
			}
		})
	}
}

func TestArgumentsAreHandedOnAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	m := newMount(t, map[string]string{"a": secret})
	stdout, _, code := launch(t, nil, "--from="+m.path, "--", "printf", "%s|", `it's "quoted"`, "$a", "", "--only=x", "two\nlines")
	g.Expect(code).To(Equal(0))
	g.Expect(stdout).To(Equal("it's \"quoted\"|$a||--only=x|two\nlines|"))
}

func TestExitCodesAreTheProgramsOwn(t *testing.T) {
	m := newMount(t, map[string]string{"a": secret})
	for _, flag := range []string{"--on-change=ignore", "--on-change=restart"} {
		for _, code := range []int{0, 1, 77, 255} {
			_, stderr, got := launch(t, nil, "--from="+m.path, flag, "sh", "-c", fmt.Sprint("exit ", code))
			NewWithT(t).Expect(got).To(Equal(code), stderr)
		}
		// None of those that nohup and background jobs of a shell ignore, which their children inherit.
		for _, signal := range []syscall.Signal{syscall.SIGALRM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSEGV, syscall.SIGUSR1} {
			_, stderr, got := launch(t, nil, "--from="+m.path, flag, "sh", "-c", fmt.Sprintf("kill -%d $$", signal))
			NewWithT(t).Expect(got).To(Equal(128+int(signal)), stderr)
		}
	}
}

func TestAParentPassesSignalsOn(t *testing.T) {
	g := NewWithT(t)
	m := newMount(t, map[string]string{"a": secret})
	p := start(t, nil, "--from="+m.path, "--on-change=signal:HUP", "sh", "-c",
		`for s in HUP INT QUIT USR1 USR2 WINCH; do trap "echo $s" $s; done; trap 'echo TERM; exit 3' TERM; echo up; while :; do sleep 0.05; done`)
	g.Eventually(p.stdout.String, limit).Should(Equal("up\n"))
	want := "up\n"
	for _, name := range []string{"HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"} {
		g.Expect(p.Process.Signal(unix.SignalNum("SIG" + name))).To(Succeed())
		want += name + "\n"
		g.Eventually(p.stdout.String, limit).Should(Equal(want))
	}
	g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(p.code(t)).To(Equal(3))
}

func TestAParentTakesInOrphans(t *testing.T) {
	g := NewWithT(t)
	m := newMount(t, map[string]string{"a": secret})
	p := start(t, nil, "--from="+m.path, "--on-change=restart", "sh", "-c", `(sh -c 'echo orphan $$; exit 5' &); exec sleep 1000`)
	g.Eventually(p.stdout.String, limit).Should(HavePrefix("orphan"))
	orphan := strings.TrimSpace(strings.TrimPrefix(p.stdout.String(), "orphan"))
	g.Eventually(func() string { return "/proc/" + orphan }, limit).ShouldNot(BeAnExistingFile())
	g.Consistently(p.ended, "300ms").ShouldNot(Receive(), "an orphan's end is not the program's")
	g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(p.code(t)).To(Equal(128 + int(syscall.SIGTERM)))
}

func TestOnChange(t *testing.T) {
	const follows = `trap 'echo got HUP' HUP; trap 'echo got TERM; exit 1' TERM; echo "a=$a"; while :; do sleep 0.05; done`
	// Between the two changes passes less than the debounce, on a machine that is very busy, too.
	for name, test := range map[string]struct{ reaction, debounce, want string }{
		"restart": {"restart", "10s", "a=1\ngot TERM\na=3\n"},
		"signal":  {"signal:HUP", "10s", "a=1\ngot HUP\n"},
		"exec":    {"exec:printenv a", "10s", "a=1\n3\n"},
		"ignore":  {"ignore", "2s", "a=1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			m := newMount(t, map[string]string{"a": "1"})
			p := start(t, nil, "--from="+m.path, "--debounce="+test.debounce, "--stop-timeout=1m", "--on-change="+test.reaction, "sh", "-c", follows)
			g.Eventually(p.stdout.String, limit).Should(Equal("a=1\n"))
			time.Sleep(1100 * time.Millisecond)
			m.write(map[string]string{"a": "2"})
			time.Sleep(1100 * time.Millisecond)
			m.write(map[string]string{"a": "3"})
			g.Eventually(p.stdout.String, limit).Should(Equal(test.want))
			g.Consistently(p.stdout.String, "3s").Should(Equal(test.want), "once")
			g.Expect(p.Process.Signal(syscall.SIGKILL)).To(Succeed())
		})
	}
}

func TestARestartIsNoneIf(t *testing.T) {
	const slow = `trap 'echo got TERM; while [ ! -e "$MAY_END" ]; do sleep 0.05; done; exit 9' TERM; echo "a=$a"; while :; do sleep 0.05; done`
	t.Run("somebody ends the pod meanwhile", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		m := newMount(t, map[string]string{"a": "1"})
		mayEnd := filepath.Join(t.TempDir(), "it may end")
		p := start(t, []string{"MAY_END=" + mayEnd}, "--from="+m.path, "--debounce=0s", "--stop-timeout=1m", "--on-change=restart", "sh", "-c", slow)
		g.Eventually(p.stdout.String, limit).Should(Equal("a=1\n"))
		m.write(map[string]string{"a": "2"})
		g.Eventually(p.stdout.String, limit).Should(ContainSubstring("got TERM"))
		g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
		g.Expect(os.WriteFile(mayEnd, nil, 0o600)).To(Succeed())
		g.Expect(p.code(t)).To(Equal(9))
		g.Expect(p.stdout.String()).NotTo(ContainSubstring("a=2"))
	})
	t.Run("no variable differs", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		m := newMount(t, map[string]string{"a": "1", "tls.crt": "x"})
		p := start(t, nil, "--from="+m.path, "--only=a", "--debounce=0s", "--on-change=restart", "sh", "-c", slow)
		g.Eventually(p.stdout.String, limit).Should(Equal("a=1\n"))
		m.write(map[string]string{"a": "1", "tls.crt": "y"})
		g.Consistently(p.stdout.String, "3s").Should(Equal("a=1\n"))
	})
	t.Run("the new values make no environment", func(t *testing.T) {
		t.Parallel()
		g := NewWithT(t)
		m := newMount(t, map[string]string{"a": "1"})
		p := start(t, nil, "--from="+m.path, "--debounce=0s", "--on-change=restart", "sh", "-c", slow)
		g.Eventually(p.stdout.String, limit).Should(Equal("a=1\n"))
		m.write(map[string]string{"a": secret + "\x00"})
		g.Eventually(p.stderr.String, limit).Should(ContainSubstring("a change is mounted, and the program keeps what it has: the file "))
		g.Expect(p.stderr.String()).NotTo(ContainSubstring(secret))
		g.Consistently(p.ended, "1s").ShouldNot(Receive())
	})
}

func TestAProgramThatDoesNotEndIsKilled(t *testing.T) {
	g := NewWithT(t)
	m := newMount(t, map[string]string{"a": "1"})
	p := start(t, nil, "--from="+m.path, "--debounce=0s", "--stop-timeout=1s", "--on-change=restart", "sh", "-c", `trap '' TERM; echo "a=$a"; while :; do sleep 0.05; done`)
	g.Eventually(p.stdout.String, limit).Should(Equal("a=1\n"))
	m.write(map[string]string{"a": "2"})
	g.Eventually(p.stdout.String, limit).Should(Equal("a=1\na=2\n"))
}

func TestFilesOfOneRevision(t *testing.T) {
	g := NewWithT(t)
	numbered := func(i int) map[string]string {
		files := map[string]string{}
		for n := range 20 {
			files[fmt.Sprintf("v%d", n)] = strconv.Itoa(i)
		}
		return files
	}
	m := newMount(t, numbered(0))
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				m.write(numbered(i))
			}
		}
	})
	o := &options{sources: []source{{directory: m.path}}}
	for range 300 {
		read, err := o.read()
		if err != nil {
			g.Expect(err).To(MatchError(errChanged))
			continue
		}
		g.Expect(read).To(HaveLen(20))
		for _, v := range read {
			g.Expect(v.value).To(Equal(read[0].value), v.name)
		}
	}
	close(stop)
	writing.Wait()
}

func TestVariablesAreNotPrinted(t *testing.T) {
	all := variables{{"a", secret, "/run/db/a"}}
	printed := fmt.Sprintf("%v %+v %#v %s", all, all, all, all[0])
	NewWithT(t).Expect(printed).NotTo(ContainSubstring(secret))
}

func TestInstall(t *testing.T) {
	g := NewWithT(t)
	directory := t.TempDir()
	_, stderr, code := launch(t, nil, "--install="+directory)
	g.Expect(stderr).To(BeEmpty())
	g.Expect(code).To(Equal(0))
	info, err := os.Stat(filepath.Join(directory, programName))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o755)))
	entries, err := os.ReadDir(directory)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1))

	_, stderr, code = launch(t, nil, "--install=/nowhere/at/all")
	g.Expect(code).To(Equal(exitFailed))
	g.Expect(stderr).To(ContainSubstring("mount an emptyDir there"))
}

func TestHelp(t *testing.T) {
	stdout, _, code := launch(t, nil, "--help")
	NewWithT(t).Expect(code).To(Equal(0))
	NewWithT(t).Expect(stdout).To(Equal(usage))
	stdout, _, code = launch(t, nil, "--version")
	NewWithT(t).Expect(code).To(Equal(0))
	NewWithT(t).Expect(stdout).To(Equal("devel\n"))
}
