package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// hostile is what the other side may have put into an error.
const hostile = "hvs.hostile"

func TestDescribe(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	verify := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	const unreachable, tlsFailed = v1alpha1.ReasonVaultUnreachable, v1alpha1.ReasonTLSFailed
	tests := []struct {
		name             string
		err              error
		reason, sentence string
	}{
		{"refused", dial(syscall.ECONNREFUSED), unreachable, "no answer from https://vault: connection refused (us); check the port in spec.url, and that Vault runs"},
		{"reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, unreachable, "no answer from https://vault: connection reset (us); check that Vault, and what stands before it, is well"},
		{"no route", dial(syscall.EHOSTUNREACH), unreachable, "no answer from https://vault: no route to it (us); check the host in spec.url, and the network between the controller and Vault"},
		{"no host", &net.DNSError{Err: hostile, IsNotFound: true}, unreachable, "no answer from https://vault: no such host (us); check the host in spec.url: it is looked up from the controller's pod"},
		{"DNS down", &net.DNSError{Err: hostile, IsTemporary: true}, unreachable, "no answer from https://vault: its name could not be looked up (us); check the cluster's DNS, and that network policies let the controller ask it"},
		{"deadline", context.DeadlineExceeded, unreachable, "no answer from https://vault: time-out after 10s (us); check that network policies and firewalls let the controller reach Vault, and that Vault is not overloaded"},
		{"dial time-out", dial(syscall.ETIMEDOUT), unreachable, "no answer from https://vault: time-out after 10s (us); check that network policies and firewalls let the controller reach Vault, and that Vault is not overloaded"},
		{"closed", io.ErrUnexpectedEOF, unreachable, "no answer from https://vault: connection closed before the answer was complete (us); check that Vault, and what stands before it, is well"},
		{"something else", errors.New(hostile), unreachable, "no answer from https://vault: the connection broke (us); check that Vault, and what stands before it, is well"},
		{"proxy wants a password", &errNoTunnel{407}, unreachable,
			"the proxy http://proxy does not lead to https://vault: it wants a user name and password (status 407), " +
				"which Sallyport does not send (us); check spec.proxy.url and the proxy"},
		{"proxy refused", &net.OpError{Op: "proxyconnect", Err: dial(syscall.ECONNREFUSED)}, unreachable,
			"the proxy http://proxy does not lead to https://vault: connection refused (us); check spec.proxy.url and the proxy"},
		{"not Vault", &errNotVault{502, "with something that is not JSON"}, unreachable,
			"https://vault answered, but not as Vault does: status 502 with something that is not JSON (us); check that spec.url is Vault's own address"},
		{"authority", verify(x509.UnknownAuthorityError{}), tlsFailed,
			"no TLS with https://vault: its certificate is signed by an unknown authority (us); give spec.caCertificate or spec.caCertificateFrom that authority's certificate"},
		{"name", verify(x509.HostnameError{Certificate: &x509.Certificate{}, Host: hostile}), tlsFailed,
			"no TLS with https://vault: its certificate is not valid for this name (us); use a name in spec.url that the certificate holds, or give one in spec.tls.serverName"},
		{"expired", verify(x509.CertificateInvalidError{Reason: x509.Expired}), tlsFailed,
			"no TLS with https://vault: its certificate has expired or is not valid yet (us); check the certificate of the server at spec.url"},
		{"not for servers", verify(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), tlsFailed,
			"no TLS with https://vault: its certificate is not valid (us); check the certificate of the server at spec.url"},
		{"http", http.ErrSchemeMismatch, tlsFailed,
			"no TLS with https://vault: the server speaks http, not https (us); check the port in spec.url, or turn on TLS in Vault"},
		{"no TLS", tls.RecordHeaderError{Msg: hostile}, tlsFailed, "no TLS with https://vault: the server does not speak TLS (us); check the port in spec.url"},
		{"refused handshake", &net.OpError{Op: "remote error", Err: tls.AlertError(40)}, tlsFailed,
			"no TLS with https://vault: the server refused the handshake (us); check the certificate of the server at spec.url"},
		{"old protocol", errors.New("tls: server selected unsupported protocol version 301"), tlsFailed,
			"no TLS with https://vault: the handshake failed (us); check the certificate of the server at spec.url"},
		{"clear text", errSpeaksTLS, unreachable,
			"no answer from https://vault: the server speaks https, not http (us); write https:// in spec.url"},
	}
	way := Config{Address: "https://vault", Proxy: "http://proxy"}
	c := &Conn{transport: &Transport{Config: way}, timeout: 10 * time.Second}
	r := Request{Method: http.MethodGet, Path: "secret/data/db", Actor: "us"}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			wrapped := &url.Error{Op: "Get", URL: "https://" + hostile, Err: test.err}
			err := c.unanswered(t.Context(), r, true, wrapped)
			g.Expect(fault.Is(err, test.reason)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError("GET secret/data/db → " + test.sentence))
			g.Expect(fmt.Sprintf("%v %+v %#v", err, err, err)).NotTo(ContainSubstring(hostile))
			g.Expect(fault.From(err).Remedy).NotTo(BeEmpty())
			g.Expect(fault.From(err).Class).NotTo(Equal(fault.ClassTerminal), "the other side can change")
			g.Expect(fault.OutcomeUnknown(err)).To(BeFalse(), "nothing was written by a read")
		})
	}
}

func TestNoAnswerToAWrite(t *testing.T) {
	g := NewWithT(t)
	c := &Conn{transport: &Transport{Config: Config{Address: "https://vault"}}}
	r := Request{Method: http.MethodPost, Path: "secret/data/db", Actor: "us"}
	g.Expect(fault.OutcomeUnknown(c.unanswered(t.Context(), r, true, io.EOF))).To(BeTrue())
	g.Expect(fault.OutcomeUnknown(c.unanswered(t.Context(), r, false, io.EOF))).To(BeFalse())

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.unanswered(canceled, r, true, context.Canceled)
	g.Expect(fault.OutcomeUnknown(err)).To(BeTrue())
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(fault.From(fmt.Errorf("wrapped: %w", err)).Message()).To(Equal("POST secret/data/db → given up before Vault answered (us)"))
}
