package env

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
)

// Vault is a real Vault server of a test's own: TLS with a certificate authority made for it, integrated storage in a
// temporary directory, so that its content outlives a restart, a KV version 2 engine at secret/ and version 1 at kv/.
//
// Methods that set something up panic if Vault refuses: for a test that is a failure like any other, and its helper
// stays one line.
type Vault struct {
	directory string
	address   string
	cluster   string
	pki       *pki
	client    *vaultapi.Client
	key       string
	exited    <-chan struct{}
	process   *os.Process
}

// StartVault starts Vault, initialises and unseals it. The context bounds the start, not Vault's life: Close ends that.
// The program is VAULT_BINARY if set, else vault in $SALLYPORT_CACHE/bin (~/.cache/sallyport/bin), else the one on
// PATH.
func StartVault(ctx context.Context) (_ *Vault, err error) {
	directory, err := os.MkdirTemp("", "sallyport-vault-")
	if err != nil {
		return nil, err
	}
	v := &Vault{directory: directory}
	defer func() {
		if err != nil {
			v.Close()
		}
	}()
	if v.address, err = FreeAddress(); err != nil {
		return nil, err
	}
	if v.cluster, err = FreeAddress(); err != nil {
		return nil, err
	}
	if v.pki, err = newPKI(); err != nil {
		return nil, err
	}
	if err := v.configure(""); err != nil {
		return nil, err
	}
	if v.client, err = v.newClient(); err != nil {
		return nil, err
	}
	if err := v.launch(ctx); err != nil {
		return nil, err
	}
	if err := v.initialize(ctx); err != nil {
		return nil, fmt.Errorf("initialising Vault: %w", err)
	}
	return v, nil
}

// URL is Vault's origin, https://127.0.0.1:PORT.
func (v *Vault) URL() string { return "https://" + v.address }

// CACertificate is the PEM certificate of the authority that signed Vault's certificate.
func (v *Vault) CACertificate() string { return v.pki.certificate }

// RootToken may do everything.
func (v *Vault) RootToken() string { return v.client.Token() }

// Client of Vault with the root token, for what the helpers here do not cover.
func (v *Vault) Client() *vaultapi.Client { return v.client }

// Stop ends the server process and waits for it; connections to it are refused from then on.
func (v *Vault) Stop() {
	if v.process == nil {
		return
	}
	_ = v.process.Signal(syscall.SIGTERM)
	select {
	case <-v.exited:
	case <-time.After(10 * time.Second):
		_ = v.process.Kill()
		<-v.exited
	}
	v.process = nil
}

// Start starts the server again at the same address after Stop, and unseals it.
func (v *Vault) Start() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(v.launch(ctx))
	v.Unseal()
}

// Seal seals Vault: it answers, but knows nothing.
func (v *Vault) Seal() { must(v.client.Sys().Seal()) }

// Unseal unseals Vault and waits until it serves requests.
func (v *Vault) Unseal() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(v.unseal(ctx))
}

// Close ends Vault and removes everything it stored.
func (v *Vault) Close() {
	v.Stop()
	_ = os.RemoveAll(v.directory)
}

func (v *Vault) file(name string) string { return filepath.Join(v.directory, name) }

// configure writes the server's files; join is what stands in the storage's stanza beside the usual.
func (v *Vault) configure(join string) error {
	certificate, key, err := v.pki.issue()
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`
disable_mlock = true
api_addr      = %q
cluster_addr  = "https://%s"
telemetry {
  prometheus_retention_time = "24h"
  disable_hostname          = true
}
storage "raft" {
  path                   = %q
  node_id                = %q
  performance_multiplier = 1
  %s
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_cert_file   = %q
  tls_key_file    = %q
}
`, v.URL(), v.cluster, v.file("data"), v.address, join, v.address, v.cluster, v.file("server.crt"), v.file("server.key"))
	return errors.Join(
		os.Mkdir(v.file("data"), 0o700),
		os.WriteFile(v.file("server.crt"), certificate, 0o600),
		os.WriteFile(v.file("server.key"), key, 0o600),
		os.WriteFile(v.file("vault.hcl"), []byte(config), 0o600),
	)
}

// launch starts the process and waits until it answers, sealed or not.
func (v *Vault) launch(ctx context.Context) error {
	program, err := vaultProgram()
	if err != nil {
		return err
	}
	output, err := os.OpenFile(v.file("vault.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	// An environment of its own: a developer's VAULT_* must not reach it.
	command := exec.Command(program, "server", "-config="+v.file("vault.hcl"))
	command.Env = []string{"HOME=" + v.directory, "PATH=" + os.Getenv("PATH")}
	command.Stdout, command.Stderr = output, output
	exited, err := startChild(command)
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	v.process, v.exited = command.Process, exited
	return v.poll(ctx, func() error {
		_, err := v.client.Sys().HealthWithContext(ctx)
		return err
	})
}

// poll waits until ready returns nil. It gives up when the process ends or the context does, and then shows Vault's
// log.
func (v *Vault) poll(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-v.exited:
			return fmt.Errorf("vault ended; its log:\n%s", v.log())
		case <-ctx.Done():
			return fmt.Errorf("vault is not ready: %w; its log:\n%s", err, v.log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (v *Vault) log() string {
	content, err := os.ReadFile(v.file("vault.log"))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

func vaultProgram() (string, error) {
	if program := os.Getenv("VAULT_BINARY"); program != "" {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("VAULT_BINARY: %w", err)
		}
		return program, nil
	}
	cached := filepath.Join(Cache(), "bin", "vault")
	if _, err := exec.LookPath(cached); err == nil {
		return cached, nil
	}
	if program, err := exec.LookPath("vault"); err == nil {
		return program, nil
	}
	return "", fmt.Errorf("no Vault server: set VAULT_BINARY, or run hack/tools.sh vault; looked for %s and on PATH", cached)
}

// Cache is where hack/tools.sh keeps programs: $SALLYPORT_CACHE, or ~/.cache/sallyport.
func Cache() string {
	if cache := os.Getenv("SALLYPORT_CACHE"); cache != "" {
		return cache
	}
	home, err := os.UserHomeDir()
	must(err)
	return filepath.Join(home, ".cache", "sallyport")
}

// FreeAddress returns an address on this machine that nobody listens at.
func FreeAddress() (string, error) { return freeAddressOf("127.0.0.1") }

// freeAddressOf returns one with the given host. Its port is none of those that the kernel gives to connections, which
// could take it before the caller does.
func freeAddressOf(host string) (_ string, err error) {
	const first, ports, tries = 16_384, 16_384, 100
	for range tries {
		port := strconv.Itoa(first + rand.IntN(ports))
		listener, failed := net.Listen("tcp", net.JoinHostPort(host, port))
		if failed != nil {
			err = failed
			continue
		}
		return listener.Addr().String(), listener.Close()
	}
	return "", err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
