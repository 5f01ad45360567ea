package env

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Postgres is a real PostgreSQL server of a test's own, in a temporary directory. Whoever logs in needs a password.
type Postgres struct {
	directory string
	programs  string
	host      string
	port      string
	password  string
	// as whom it runs; nil: as this process. PostgreSQL refuses to run as root.
	as      *syscall.Credential
	process *os.Process
	exited  <-chan struct{}
}

// superuser of every Postgres. Vault logs in as a user of its own, so that rotating that one's password shuts no test
// out.
const superuser = "superuser"

// StartPostgres starts a server that listens at a free port of host, an address of this machine; "" means 127.0.0.1.
// The context bounds the start. Close ends the server.
func StartPostgres(ctx context.Context, host string) (_ *Postgres, err error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	directory, err := os.MkdirTemp("", "sallyport-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{directory: directory, programs: programs, host: host, password: rand.Text()}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	address, err := freeAddressOf(host)
	if err != nil {
		return nil, err
	}
	if _, p.port, err = net.SplitHostPort(address); err != nil {
		return nil, err
	}
	if err := p.initialize(ctx); err != nil {
		return nil, err
	}
	if err := p.launch(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Address of the server, HOST:PORT.
func (p *Postgres) Address() string { return net.JoinHostPort(p.host, p.port) }

// Run runs SQL as the superuser and returns the rows, a line each, columns separated by |. It panics if PostgreSQL
// refuses.
func (p *Postgres) Run(sql string) []string {
	output, err := p.query(superuser, p.password, sql)
	must(err)
	if output = strings.TrimSpace(output); output != "" {
		return strings.Split(output, "\n")
	}
	return nil
}

// Roles are the names of all roles that can log in, the superuser included.
func (p *Postgres) Roles() []string {
	return p.Run("SELECT rolname FROM pg_roles WHERE rolcanlogin ORDER BY rolname")
}

// ValidUntil is when a role's password ends. It panics if there is no such role, or no such end.
func (p *Postgres) ValidUntil(name string) time.Time {
	rows := p.Run(fmt.Sprintf("SELECT extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles WHERE rolname = '%s'", name))
	if len(rows) != 1 {
		panic("PostgreSQL has no role " + name)
	}
	seconds, err := strconv.ParseInt(rows[0], 10, 64)
	must(err)
	return time.Unix(seconds, 0)
}

// AddRole makes a role that can log in. Options are as in CREATE ROLE: CREATEROLE, SUPERUSER.
func (p *Postgres) AddRole(name, password string, options ...string) {
	p.Run(fmt.Sprintf("CREATE ROLE %q LOGIN PASSWORD '%s' %s", name, password, strings.Join(options, " ")))
}

// Login tries to log in. ErrPostgresLogin says that the user or the password is wrong; any other error, that nothing is
// known about them.
func (p *Postgres) Login(name, password string) error {
	_, err := p.query(name, password, "SELECT 1")
	return err
}

// ErrPostgresLogin is what Login returns when PostgreSQL does not know the user with this password.
var ErrPostgresLogin = errors.New("PostgreSQL refuses the login")

// Close ends the server, with all connections to it, and removes its directory.
func (p *Postgres) Close() {
	if p.process != nil {
		_ = p.process.Signal(syscall.SIGINT) // what PostgreSQL calls fast; it removes its shared memory, too
		select {
		case <-p.exited:
		case <-time.After(10 * time.Second):
			_ = p.process.Kill()
			<-p.exited
		}
		p.process = nil
	}
	_ = os.RemoveAll(p.directory)
}

func (p *Postgres) file(name string) string { return filepath.Join(p.directory, name) }

// initialize makes the server's files, those of the user that it runs as.
func (p *Postgres) initialize(ctx context.Context) error {
	if err := os.WriteFile(p.file("password"), []byte(p.password), 0o600); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := p.becomeOther(); err != nil {
			return err
		}
	}
	// No fsync: what a test stores need not outlive the machine.
	command := p.command(ctx, "initdb", "--pgdata", p.file("data"), "--username", superuser, "--pwfile", p.file("password"),
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	access, err := os.OpenFile(p.file("data/pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = access.WriteString("host all all all scram-sha-256\n")
	return errors.Join(err, access.Close())
}

// becomeOther gives the directory to the user of Debian's package, or to nobody.
func (p *Postgres) becomeOther() error {
	other, err := user.Lookup("postgres")
	if err != nil {
		if other, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: %w", err)
		}
	}
	uid, err := strconv.ParseUint(other.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(other.Gid, 10, 32)
	if err != nil {
		return err
	}
	p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(os.Chown(p.directory, int(uid), int(gid)), os.Chown(p.file("password"), int(uid), int(gid)))
}

func (p *Postgres) launch(ctx context.Context) error {
	output, err := os.OpenFile(p.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	command := p.command(context.WithoutCancel(ctx), "postgres", "-D", p.file("data"), "-h", p.host, "-p", p.port, "-F",
		"-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=16MB")
	command.Stdout, command.Stderr = output, output
	if p.exited, err = startChild(command); err != nil {
		return err
	}
	p.process = command.Process
	for {
		err := p.Login(superuser, p.password)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			p.process = nil
			return fmt.Errorf("PostgreSQL ended; its log:\n%s", p.log())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL is not ready: %w; its log:\n%s", err, p.log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// command of the server's, with an environment of its own: a developer's PG* must not reach it.
func (p *Postgres) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(p.programs, name), arguments...)
	command.Dir = p.directory
	command.Env = []string{"HOME=" + p.directory, "PATH=" + p.programs + ":" + os.Getenv("PATH"), "LC_ALL=C"}
	if p.as != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	}
	return command
}

// query runs SQL as a user, with a connection of its own.
func (p *Postgres) query(name, password, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	command := p.command(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--no-password",
		"--host="+p.host, "--port="+p.port, "--username="+name, "--dbname=postgres")
	command.Env = append(command.Env, "PGPASSWORD="+password)
	command.Stdin = strings.NewReader(sql)
	var problem strings.Builder
	command.Stderr = &problem
	output, err := command.Output()
	switch {
	case err == nil:
		return string(output), nil
	case strings.Contains(problem.String(), "authentication failed"):
		return "", ErrPostgresLogin
	}
	return "", fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(problem.String()))
}

func (p *Postgres) log() string {
	content, err := os.ReadFile(p.file("log"))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// postgresPrograms is the directory with the server's programs. Debian keeps them by version, and off every PATH.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if program, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(program), nil
	}
	return "", errors.New("PostgreSQL is not installed: run hack/packages.sh database")
}
