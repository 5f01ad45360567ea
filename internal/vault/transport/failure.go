package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// errNotVault is a response that Vault does not give: HTML from something in front of it, JSON that ends too early.
type errNotVault struct {
	status int
	detail string
}

// Error says what was found, never the body itself.
func (e *errNotVault) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.detail) }

// errSpeaksTLS is a request in clear text to a port that speaks TLS.
var errSpeaksTLS = errors.New("the server speaks https, not http")

// plainHTTPToTLS recognises how Go's servers, Vault among them, answer http on an https port. Without it a user who
// forgot the s would be told that something in front of Vault is broken.
func plainHTTPToTLS(response *http.Response, body []byte) bool {
	return response.Request.URL.Scheme == "http" && response.StatusCode == http.StatusBadRequest &&
		bytes.Contains(body, []byte("HTTP request to an HTTPS server"))
}

// errNoTunnel is a proxy that does not lead to Vault.
type errNoTunnel struct{ status int }

// Error says nothing that the proxy said but the status.
func (e *errNoTunnel) Error() string { return fmt.Sprintf("no tunnel: status %d", e.status) }

// checkTunnel is asked by the HTTP transport when a proxy answered.
func checkTunnel(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return &errNoTunnel{response.StatusCode}
	}
	return nil
}

// describeProxy tells why a proxy does not lead to Vault; nothing if that is not what went wrong.
func describeProxy(err error) string {
	if refused, is := errors.AsType[*errNoTunnel](err); is {
		if refused.status == http.StatusProxyAuthRequired {
			return "it wants a user name and password (status 407), which Sallyport does not send"
		}
		return fmt.Sprintf("it answers with status %d", refused.status)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		// Each link of the chain is looked at: the proxy's error holds another of the same type.
		operation, is := err.(*net.OpError) //nolint:errorlint // see above
		if !is || operation.Op != "proxyconnect" {
			continue
		}
		if problem, _ := describeTLS(operation.Err); problem != "" {
			return "no TLS with it: " + problem
		}
		problem, _ := describeConnection(operation.Err)
		return problem
	}
	return ""
}

// describeTLS tells what is wrong with a TLS handshake, and its remedy; nothing if the error is of another kind.
func describeTLS(err error) (problem, remedy string) {
	const checkServer = "check the certificate of the server at spec.url"
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		operation *net.OpError
	)
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the server speaks http, not https", "check the port in spec.url, or turn on TLS in Vault"
	case errors.As(err, &authority):
		return "its certificate is signed by an unknown authority", "give spec.caCertificate or spec.caCertificateFrom that authority's certificate"
	case errors.As(err, &name):
		return "its certificate is not valid for this name", "use a name in spec.url that the certificate holds, or give one in spec.tls.serverName"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet", checkServer
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate is not valid", checkServer
	case errors.As(err, &record):
		return "the server does not speak TLS", "check the port in spec.url"
	case errors.As(err, &operation) && operation.Op == "remote error" && aboutClient(operation.Err):
		return "the server wants a client certificate, or another one", "give spec.tls.clientCertificateSecretRef one that the server accepts"
	case errors.As(err, &operation) && operation.Op == "remote error":
		return "the server refused the handshake", checkServer
	case errors.As(err, &operation) && operation.Op == "local error", tlsAlert(err):
		return "the handshake failed", checkServer
	}
	return "", ""
}

// aboutClient recognises the alerts by which a server refuses the client's certificate, or its absence. crypto/tls has
// no type for them, only their texts (RFC 8446, section 6).
func aboutClient(alert error) bool {
	switch alert.Error() {
	case "tls: certificate required", "tls: bad certificate", "tls: unsupported certificate",
		"tls: revoked certificate", "tls: expired certificate",
		"tls: unknown certificate", "tls: unknown certificate authority":
		return true
	}
	return false
}

// tlsAlert recognises the handshake failures that crypto/tls gives no type: a protocol version or cipher that is not
// shared.
func tlsAlert(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "tls: ") {
			return true
		}
	}
	return false
}

const timedOut = "time-out"

// CheckSpeed is the remedy where something waits for others, who wait for answers of Vault.
const CheckSpeed = "check that Vault answers in time, and whether it is overloaded"

// describeConnection names the kind of a failure below HTTP, and its remedy. What passes by itself, if Vault or the
// network come back, says where to look if it does not.
func describeConnection(err error) (problem, remedy string) {
	const checkVault = "check that Vault, and what stands before it, is well"
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	switch {
	case errors.Is(err, errSpeaksTLS):
		return errSpeaksTLS.Error(), "write https:// in spec.url"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host", "check the host in spec.url: it is looked up from the controller's pod"
	case errors.As(err, &dns):
		return "its name could not be looked up", "check the cluster's DNS, and that network policies let the controller ask it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "check the port in spec.url, and that Vault runs"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset", checkVault
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it", "check the host in spec.url, and the network between the controller and Vault"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return timedOut, "check that network policies and firewalls let the controller reach Vault, and that Vault is not overloaded"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer was complete", checkVault
	}
	return "the connection broke", checkVault
}
