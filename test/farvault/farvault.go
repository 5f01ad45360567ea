// Package farvault is a Vault for benchmarks: it answers reads of KV version 2 as Vault does, over TLS and HTTP/2, in a
// process of its own, so that what it costs does not count as the cost of who asks it.
package farvault

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Role is the environment variable that makes a test's program the Vault.
const role = "SALLYPORT_TEST_FARVAULT"

// address is what the Vault says of itself once it is there.
type address struct{ URL, Certificate string }

// Run is for TestMain: it runs the tests, or is the Vault.
func Run(m *testing.M) int {
	if os.Getenv(role) == "" {
		return m.Run()
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(answer))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := json.NewEncoder(os.Stdout).Encode(address{server.URL, string(certificate)}); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until nobody is there that asks
	return 0
}

// Start starts a Vault, and returns its URL and the certificate of its authority. It ends with the test.
func Start(tb testing.TB) (url, certificate string) {
	tb.Helper()
	command := exec.CommandContext(tb.Context(), os.Args[0])
	command.Env = append(os.Environ(), role+"=1")
	until, err := command.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	said, err := command.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = until.Close()
		_ = command.Wait()
	})
	var at address
	if err := json.NewDecoder(said).Decode(&at); err != nil {
		tb.Fatal(err)
	}
	return at.URL, at.Certificate
}

// CPU reports the CPU that this process has for each op from now on, garbage collection included.
func CPU(b *testing.B) (report func()) {
	b.Helper()
	before := spent()
	return func() { b.ReportMetric(float64(spent()-before)/float64(b.N), "cpu-ns/op") }
}

func spent() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	const begin = `{"request_id":"3c1b7cbe-91d6-fc4c-64e3-56d06bb36a87","lease_id":"","renewable":false,"lease_duration":0,"data":`
	const end = `,"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
	case path == "auth/token/lookup-self":
		_, _ = fmt.Fprint(w, begin, `{"ttl":360000,"creation_ttl":360000,"renewable":true,"policies":["p"],"type":"service"}`, end)
	case path == "sys/health":
		_, _ = fmt.Fprint(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.1","enterprise":false}`)
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		_, _ = fmt.Fprint(w, begin, `{"path":"secret/","type":"kv","options":{"version":"2"}}`, end)
	default:
		_, _ = fmt.Fprint(w, begin, `{"data":{"password":"pYrKJ4nV0wH2sT8xQ6zB3mD7","user":"scott"},"metadata":{`+
			`"created_time":"2026-01-14T09:26:53.589793238Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":7}}`, end)
	}
}
