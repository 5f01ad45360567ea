package vaulttask

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/pipes"
)

// TestWhatEachStatusOfVaultMeans holds every status that Vault documents, and those that front ends answer in its place,
// against what it means: to a Connection, which only reads, by reason and class, and to a task's write: refused for
// good, not done and waited for, or done perhaps. The docs say the same.
func TestWhatEachStatusOfVaultMeans(t *testing.T) {
	const (
		ends, waits, unknown = "ends", "waits", "unknown"
		done                 = "done"

		invalid, denied, absent = v1alpha1.ReasonInvalidRequest, v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound
		limited, broken, nobody = v1alpha1.ReasonRateLimited, v1alpha1.ReasonVaultError, v1alpha1.ReasonVaultUnreachable
		waiting, transient      = fault.ClassWaiting, fault.ClassTransient

		upgrading  = "Upgrading from non-versioned to versioned data. This backend will be unavailable"
		notYet     = "Waiting for the primary to upgrade from non-versioned to versioned data for this mount"
		mismatch   = "check-and-set parameter did not match the current version"
		usedUp     = "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked."
		overloaded = "request path: rate limit quota exceeded"
		noState    = "required index state not present"
	)
	says := map[string]string{ends: "ends", waits: "not done; ", unknown: "may have been done"}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "reasons.md"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, test := range []struct {
		status  int
		text    string
		reason  string
		class   fault.Class
		outcome string
	}{
		{http.StatusSwitchingProtocols, "", nobody, transient, unknown},
		{http.StatusOK, "", "", 0, done},
		{http.StatusCreated, "", "", 0, done},
		{http.StatusNoContent, "", "", 0, done},
		{http.StatusMultipleChoices, "", nobody, waiting, waits},
		{http.StatusMovedPermanently, "", nobody, waiting, waits},
		{http.StatusFound, "", nobody, waiting, waits},
		{http.StatusSeeOther, "", nobody, waiting, waits},
		{http.StatusNotModified, "", nobody, waiting, waits},
		{http.StatusTemporaryRedirect, "", nobody, waiting, waits},
		{http.StatusPermanentRedirect, "", nobody, waiting, waits},
		{http.StatusBadRequest, "invalid", invalid, waiting, ends},
		{http.StatusBadRequest, upgrading, broken, transient, waits},
		{http.StatusBadRequest, notYet, broken, transient, waits},
		{http.StatusBadRequest, mismatch, v1alpha1.ReasonCASMismatch, fault.ClassTerminal, ends},
		{http.StatusBadRequest, usedUp, v1alpha1.ReasonUseLimited, waiting, ends},
		{http.StatusUnauthorized, "", denied, waiting, ends},
		{http.StatusForbidden, "permission denied", denied, waiting, ends},
		{http.StatusNotFound, "", absent, waiting, ends},
		{http.StatusMethodNotAllowed, "unsupported operation", invalid, waiting, ends},
		{http.StatusProxyAuthRequired, "", invalid, waiting, ends},
		{http.StatusRequestTimeout, "", broken, transient, unknown},
		{http.StatusConflict, "", invalid, waiting, ends},
		{http.StatusGone, "", invalid, waiting, ends},
		{http.StatusPreconditionFailed, noState, broken, transient, waits},
		{http.StatusRequestEntityTooLarge, "request body too large", invalid, waiting, ends},
		{http.StatusTeapot, "", invalid, waiting, ends},
		{http.StatusTooEarly, "", broken, transient, unknown},
		{http.StatusTooManyRequests, overloaded, limited, transient, waits},
		{472, "", broken, transient, waits},
		{473, "", broken, transient, waits},
		{http.StatusInternalServerError, "1 error occurred", broken, transient, unknown},
		{http.StatusNotImplemented, "", broken, transient, unknown},
		{http.StatusBadGateway, "", broken, transient, unknown},
		{http.StatusServiceUnavailable, "", broken, transient, unknown},
		{http.StatusGatewayTimeout, "", broken, transient, unknown},
		{599, "", broken, transient, unknown},
		{999, "", broken, transient, unknown},
	} {
		t.Run(fmt.Sprintf("%d %s", test.status, test.text), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				conn := alwaysAnswered(t, test.status, test.text)
				call := func(method string) error {
					_, err := conn.Call(t.Context(), transport.Request{Method: method, Path: "secret/data/db", Actor: "us"})
					return err
				}
				read, write := call(http.MethodGet), call(http.MethodPost)
				if test.outcome == done {
					g.Expect(read).NotTo(HaveOccurred())
					g.Expect(write).NotTo(HaveOccurred())
					return
				}
				for _, err := range []error{read, write} {
					g.Expect(err).To(HaveOccurred())
					g.Expect(fault.From(err).Reason).To(Equal(test.reason), "%v", err)
					g.Expect(fault.From(err).Class).To(Equal(test.class), "%v", err)
				}
				g.Expect(fault.OutcomeUnknown(read)).To(BeFalse(), "a read leaves nothing behind")
				g.Expect(rowsOf(string(page), test.status)).To(ContainElement(And(
					ContainSubstring("`"+test.reason+"`"), ContainSubstring(says[test.outcome]))), "the docs")

				task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db")
				waitsFor := (&attempt{called: true, task: task}).classify(write)
				g.Expect(waitsFor == nil).To(Equal(test.outcome == ends), "%v", write)
				if waitsFor != nil {
					g.Expect(waitsFor.OutcomeUnknown).To(Equal(test.outcome == unknown), "%v", write)
				}
			})
		})
	}
}

// rowsOf are the rows of a status in the docs.
func rowsOf(page string, status int) (rows []string) {
	_, section, _ := strings.Cut(page, "\n### What an HTTP status means\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var others []string
	for row := range strings.Lines(section) {
		statuses, meaning, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		switch {
		case slices.Contains(strings.Split(statuses, ", "), strconv.Itoa(status)):
			rows = append(rows, meaning)
		case statuses == fmt.Sprintf("other %dxx", status/100), statuses == "other 5xx" && status >= 600:
			others = append(others, meaning)
		}
	}
	if rows == nil {
		return others
	}
	return rows
}

// alwaysAnswered is a way to a server that answers everything with one status, and that of a Vault which is well to
// sys/health, within a bubble. It writes the responses itself: package http's server refuses statuses that a client may well see.
func alwaysAnswered(t *testing.T, status int, text string) *transport.Conn {
	t.Helper()
	listener := pipes.Listen()
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, closed := listener.Accept()
			if closed != nil {
				return
			}
			go answer(connection, status, text)
		}
	}()
	origin := "http://" + listener.Addr().String()
	pool := transport.NewPool(time.Second, clock.RealClock{}, networks.Within(listener.Dial), nil)
	way, err := pool.Get(transport.Config{Address: origin})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return pool.NewConn(way, transport.Settings{Timeout: 300 * time.Millisecond})
}

// answer answers the one request of a connection, after the informational responses that a front end may send ahead.
func answer(connection net.Conn, status int, text string) {
	defer func() { _ = connection.Close() }()
	request, err := http.ReadRequest(bufio.NewReader(connection))
	if err != nil {
		return
	}
	body := fmt.Sprintf(`{"request_id":"1","errors":[%q]}`, text)
	if request.URL.Path == "/v1/sys/health" {
		status, body = http.StatusOK, `{"initialized":true,"version":"1.21.1"}`
	}
	if status == http.StatusNoContent {
		body = ""
	}
	_, _ = fmt.Fprintf(connection, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"+
		"HTTP/1.1 %d Status\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}
