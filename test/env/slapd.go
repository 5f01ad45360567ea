package env

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// LDAP is a real LDAP server (OpenLDAP's slapd) of a test's own, in a temporary directory.
type LDAP struct {
	directory string
	address   string
	process   *os.Process
	exited    <-chan struct{}
}

// LDAPBase is the entry below which users are: uid=NAME,ou=people,dc=example,dc=org.
const LDAPBase = "dc=example,dc=org"

// StartLDAP starts slapd with these users and their passwords. Close ends it.
func StartLDAP(ctx context.Context, users map[string]string) (_ *LDAP, err error) {
	program, err := lookProgram("slapd")
	if err != nil {
		return nil, errors.New("slapd is not installed: run hack/packages.sh ldap")
	}
	directory, err := os.MkdirTemp("", "sallyport-ldap-")
	if err != nil {
		return nil, err
	}
	l := &LDAP{directory: directory}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.address, err = FreeAddress(); err != nil {
		return nil, err
	}
	config := filepath.Join(directory, "slapd.conf")
	if err := l.configure(config, users); err != nil {
		return nil, err
	}
	// slapd does slapadd's work when it is called so.
	if output, err := exec.CommandContext(ctx, program, "-Tadd", "-f", config, "-l", filepath.Join(directory, "users.ldif")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("filling the LDAP server: %w: %s", err, output)
	}
	if err := l.launch(ctx, program, config); err != nil {
		return nil, err
	}
	return l, nil
}

// URL of the server, ldap://127.0.0.1:PORT.
func (l *LDAP) URL() string { return "ldap://" + l.address }

// Close ends the server and removes its directory.
func (l *LDAP) Close() {
	if l.process != nil {
		_ = l.process.Kill()
		<-l.exited
		l.process = nil
	}
	_ = os.RemoveAll(l.directory)
}

func (l *LDAP) configure(config string, users map[string]string) error {
	// Debian's slapd loads its storage as a module, others have it built in.
	modules := ""
	for _, path := range []string{"/usr/lib/ldap", "/usr/lib/openldap", "/usr/lib64/openldap"} {
		if found, _ := filepath.Glob(filepath.Join(path, "back_mdb*")); len(found) > 0 {
			modules = fmt.Sprintf("modulepath %s\nmoduleload back_mdb\n", path)
			break
		}
	}
	schema := "/etc/ldap/schema"
	if _, err := os.Stat(schema); err != nil {
		schema = "/etc/openldap/schema"
	}
	content := fmt.Sprintf(`include %[1]s/core.schema
include %[1]s/cosine.schema
include %[1]s/inetorgperson.schema
%[2]sdatabase mdb
suffix "%[3]s"
rootdn "cn=admin,%[3]s"
directory %[4]s
`, schema, modules, LDAPBase, filepath.Join(l.directory, "data"))
	var ldif strings.Builder
	fmt.Fprintf(&ldif, "dn: %[1]s\nobjectClass: dcObject\nobjectClass: organization\no: example\n\ndn: ou=people,%[1]s\nobjectClass: organizationalUnit\n\n", LDAPBase)
	for name, password := range users {
		fmt.Fprintf(&ldif, "dn: uid=%[1]s,ou=people,%[2]s\nobjectClass: inetOrgPerson\ncn: %[1]s\nsn: %[1]s\nuserPassword: %[3]s\n\n", name, LDAPBase, password)
	}
	return errors.Join(
		os.Mkdir(filepath.Join(l.directory, "data"), 0o700),
		os.WriteFile(config, []byte(content), 0o600),
		os.WriteFile(filepath.Join(l.directory, "users.ldif"), []byte(ldif.String()), 0o600),
	)
}

func (l *LDAP) launch(ctx context.Context, program, config string) error {
	command := exec.Command(program, "-d", "0", "-h", l.URL(), "-f", config)
	exited, err := startChild(command)
	if err != nil {
		return err
	}
	l.process, l.exited = command.Process, exited
	for {
		connection, err := net.DialTimeout("tcp", l.address, time.Second)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-l.exited:
			return errors.New("slapd ended at once")
		case <-ctx.Done():
			return fmt.Errorf("slapd is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lookProgram finds a program also where Debian keeps those for administrators, which is not on every user's PATH.
func lookProgram(name string) (string, error) {
	if program, err := exec.LookPath(name); err == nil {
		return program, nil
	}
	for directory := range strings.FieldsSeq("/usr/local/sbin /usr/sbin /sbin /usr/libexec") {
		if program, err := exec.LookPath(filepath.Join(directory, name)); err == nil {
			return program, nil
		}
	}
	return "", exec.ErrNotFound
}
