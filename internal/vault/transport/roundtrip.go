package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/transport/metering"
)

// responseMeta is what a response says beside its body.
type responseMeta struct {
	status     int
	location   string
	retryAfter time.Duration
}

// roundTrip sends the request and decodes the response into out. It also tells whether any of it may have reached
// Vault.
func (c *Conn) roundTrip(ctx context.Context, r Request, out any) (meta responseMeta, sent bool, err error) {
	started := time.Now()
	defer func() { c.count(r, meta, err, time.Since(started)) }()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(
		ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }},
	)

	apiRequest, err := c.build(r)
	if err != nil {
		return responseMeta{}, false, err
	}
	// The methods of Logical() that are recommended in its place hide the status code, which every sentence names.
	response, err := c.client(r).RawRequestWithContext(ctx, apiRequest) //nolint:staticcheck // see above
	if response == nil {
		return responseMeta{}, connected.Load(), err
	}
	c.transport.breaker.Answered()
	defer func() { _ = response.Body.Close() }()
	// A response that is no success comes as an error too, which quotes the response; the response itself says all that
	// is needed. Anything else is a response that broke off.
	if _, refused := errors.AsType[*vaultapi.ResponseError](err); err != nil && !refused {
		return responseMeta{}, true, err
	}
	meta = newResponseMeta(response.Response)
	if meta.status >= 300 && meta.status < 400 {
		return meta, true, nil // a redirect, whatever the body says
	}
	if meta.status == http.StatusNoContent {
		return meta, true, nil
	}
	return meta, true, c.readBody(ctx, cancel, r, response.Response, out)
}

// count tells metrics of a request.
func (c *Conn) count(r Request, meta responseMeta, err error, took time.Duration) {
	outcome := metering.OutcomeOf(meta.status)
	switch standby := []int{http.StatusTooManyRequests, statusRecoverySecondary, statusPerformanceStandby}; {
	case err != nil:
		outcome = metering.OutcomeUnanswered
	case r.Path == "sys/health" && slices.Contains(standby, meta.status): // a node that is well says so
		outcome = metering.OutcomeSucceeded
	}
	metering.Count(c.subject.Namespace, c.transport.label(), r.operation(), outcome, took)
}

const (
	// smallBody is a body that is read whatever else there is, and what such a body may be decoded to likewise: most
	// secrets are smaller. How many there are at a time, their callers bound.
	smallBody = 64 << 10
	// maxHeap bounds what one response takes of the heap once it is decoded: several times what Vault's storages accept
	// as one secret. A hostile body of maxResponse would take more than a hundred MiB.
	maxHeap = 8 << 20
	// decodingWeight is what a large response takes while it is decoded: the body, twice while its buffer grows, and
	// what it is decoded to.
	decodingWeight = 2*maxResponse + maxHeap
	// bodyTime is how long the rest of a large body may take, for which others wait.
	bodyTime = 5 * time.Second
)

// readBody reads and decodes a response. One that is large, or becomes so, waits for its turn, so that the responses to
// all requests together have a bound, and those of no namespace take more than a share of that.
func (c *Conn) readBody(
	ctx context.Context, cancel context.CancelFunc, r Request, response *http.Response, out any,
) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, smallBody))
	if err != nil {
		return err
	}
	weight := int64(decodingWeight)
	if len(body) < smallBody {
		if weight = heap.OfJSON(body, maxHeap); weight <= smallBody {
			return decode(response, body, out)
		}
	}
	leave, err := c.transport.decoding.Enter(ctx, c.userOf(ctx), weight)
	if err != nil {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"%s → %d, which is large, and others for namespace %s, or for all, take the memory for decoding it (%s)",
			r, response.StatusCode, c.userOf(ctx), r.Actor).
			WithRemedy("this passes; smaller secrets or fewer requests at a time avoid it").WithOutcomeUnknown(r.hasEffect())
	}
	defer leave()
	late := time.AfterFunc(bodyTime, cancel)
	rest, err := io.ReadAll(response.Body)
	late.Stop()
	switch {
	case err != nil:
		return err
	case len(body)+len(rest) > maxResponse:
		return &errNotVault{response.StatusCode, fmt.Sprintf("with more than %d MiB", maxResponse>>20)}
	}
	body = append(body, rest...)
	if heap.OfJSON(body, maxHeap) >= maxHeap {
		return fault.Waiting(v1alpha1.ReasonTooLarge, "%s → %d with so many values that they take more than %d MiB of memory (%s)",
			r, response.StatusCode, maxHeap>>20, r.Actor).WithRemedy("keep fewer values in one secret").
			WithOutcomeUnknown(r.hasEffect())
	}
	return decode(response, body, out)
}

func newResponseMeta(response *http.Response) responseMeta {
	meta := responseMeta{status: response.StatusCode, location: response.Header.Get("Location")}
	// Vault gives seconds. The other form, a date, would rest on two clocks being the same.
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		meta.retryAfter = min(time.Duration(min(seconds, 3600))*time.Second, maxPause)
	}
	return meta
}

// client returns the library for the namespace that a request goes to. The library takes it from the client and no
// other place, so that there is a copy for each: a small one, which shares the connections.
func (c *Conn) client(r Request) *vaultapi.Client {
	namespace := r.Namespace
	if namespace == "" {
		namespace = c.namespace
	}
	if namespace == "" || namespace == RootNamespace {
		return c.transport.api
	}
	return c.transport.api.WithNamespace(namespace)
}

func (c *Conn) build(r Request) (*vaultapi.Request, error) {
	// The library escapes the path; segments that would change its meaning were refused when the path was made.
	built := c.client(r).NewRequest(r.Method, "/v1/"+r.Path)
	built.WrapTTL = r.WrapTTL // the library would take one from the environment
	c.transport.Headers.addTo(built.Headers)
	if r.Method == http.MethodPatch {
		built.Headers.Set("Content-Type", "application/merge-patch+json")
	}
	built.Params = r.Query
	if r.Token != nil {
		built.ClientToken = r.Token.Reveal()
	}
	if r.Body != nil {
		if err := built.SetJSONBody(r.Body); err != nil {
			// The error itself may quote a value.
			return nil, fault.Terminal(v1alpha1.ReasonInternal, "%s: the data cannot be encoded as JSON", r)
		}
	}
	return built, nil
}

// decode reads a response of Vault: JSON, with numbers kept as they are written, and with one of the keys that all of
// its responses have.
func decode(response *http.Response, body []byte, out any) error {
	notVault := func(detail string) error { return &errNotVault{response.StatusCode, detail} }
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "application/json" {
		if plainHTTPToTLS(response, body) {
			return errSpeaksTLS
		}
		return notVault("with something that is not JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(out); err != nil {
		return notVault("with JSON that cannot be read")
	}
	switch decoded := out.(type) {
	case *Response:
		if decoded.RequestID == "" && decoded.Errors == nil && decoded.WrapInfo == nil { // a wrapped response has no ID
			return notVault("with JSON that is not Vault's")
		}
	case *healthResponse:
		if decoded.Initialized == nil && decoded.Errors == nil {
			return notVault("with JSON that is not Vault's")
		}
	}
	return nil
}
