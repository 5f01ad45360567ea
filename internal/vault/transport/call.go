package transport

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
)

// Call makes one request. It returns the response if Vault gave one, and a fault unless that is a success: with a
// failure both are returned. Errors say by OutcomeUnknown whether a request with an effect may have had it. A fault of
// the way to Vault (address, TLS, seal) has the Conn's subject.
//
// The request is sent once, except where Vault itself says that it did nothing and wants it sent again: see mayResend.
func (c *Conn) Call(ctx context.Context, r Request) (answer *Response, err error) {
	ctx, span := c.span(ctx, r)
	defer func() { span.End(err) }()
	if err := c.admit(ctx, r); err != nil {
		return nil, err
	}
	began := c.transport.clock.Now()
	deadline := time.Now().Add(maxWait(ctx, c.timeout))
	for sends := 1; ; sends++ {
		if err := c.limiter.wait(ctx, c.timeout, r); err != nil {
			return nil, err
		}
		if err := c.pool.limiter.wait(OnBehalfOf(ctx, c.userOf(ctx)), c.timeout, r); err != nil {
			return nil, err
		}
		var response Response
		over := c.suspect(ctx)
		span.Sent()
		meta, sent, err := c.roundTrip(ctx, r, &response)
		span.Status(meta.status)
		over()
		if err != nil {
			return nil, c.unanswered(ctx, r, sent, err)
		}
		lags := meta.status == http.StatusPreconditionFailed
		if c.mayResend(ctx, r, meta, sends) || lags && waitForState(ctx, deadline, sends) {
			continue
		}
		response.Status = meta.status
		response.RequestID = printable.Text(response.RequestID, maxRequestID)
		switch {
		case meta.status == http.StatusServiceUnavailable && r.Path != "sys/health":
			return &response, c.unavailable(ctx, r, &response, began)
		case meta.status >= 300 && meta.status < 400:
			return &response, c.aboutSubject(responseFault(r, &response))
		case meta.status >= 300:
			return &response, responseFault(r, &response)
		}
		return &response, nil
	}
}

// maxRequestID is what status has room for; Vault's are UUIDs.
const maxRequestID = 128

// maxSends bounds how often Vault may send a request back to its own address: behind a load balancer, one of its nodes
// can be the active one that all others point at.
const maxSends = 3

// mayResend tells whether a response asks for the same request once more: a standby that cannot forward sends it to the
// address that it was sent to already, or a quota names the time after which a read may come again, and the caller
// wants to wait that long.
func (c *Conn) mayResend(ctx context.Context, r Request, meta responseMeta, sends int) bool {
	switch meta.status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return sends < maxSends && c.leadsBack(meta.location, r)
	case http.StatusTooManyRequests:
		if meta.retryAfter == 0 {
			return false
		}
		c.limiter.pauseFor(userOf(ctx), meta.retryAfter)
		return sends == 1 && !r.hasEffect() && meta.retryAfter <= maxWait(ctx, c.timeout)
	}
	return false
}

// statePauses are those between the sends of a request that a node of Vault has to wait for.
var statePauses = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Cap: time.Second, Steps: 8}

// waitForState waits a little for a node of Vault that has not yet seen the state that a token was made from (412): it
// has done nothing, and most often lags by less than a second. It is false when the next send would be later than one
// request may take.
func waitForState(ctx context.Context, deadline time.Time, sends int) bool {
	pauses, pause := statePauses, time.Duration(0)
	for range sends {
		pause = pauses.Step()
	}
	return time.Until(deadline) > pause && sleep(ctx, pause, Request{}) == nil
}

// leadsBack tells whether a redirect leads to the same path of the same address. Any other could take the token
// elsewhere.
func (c *Conn) leadsBack(location string, r Request) bool {
	u, err := url.Parse(location)
	if err != nil {
		return false
	}
	base, ends := strings.CutSuffix(u.Path, "/v1/"+r.Path)
	u.Path, u.RawPath, u.RawQuery = base, "", ""
	address, problem := parseVault(u.String())
	return ends && problem.text == "" && address == c.transport.Address
}

// unavailable tells a sealed Vault from one that is broken. Both say 503; only sys/health says which without having to
// trust the wording. The look is a new one: an older result may be another node's, and a sealed one is not asked again.
func (c *Conn) unavailable(ctx context.Context, r Request, response *Response, since time.Time) error {
	sealed := func(problem, remedy string) error {
		return c.aboutSubject(fault.Transient(v1alpha1.ReasonVaultSealed, "%s → 503 Vault is %s (%s)", r, problem, r.Actor).
			WithRemedy("%s", remedy).WithOutcomeUnknown(r.hasEffect()).WithUnreachable())
	}
	switch health, err := c.healthSince(ctx, r.Actor, since); {
	case err != nil: // the first response stands
	case !health.Initialized:
		return sealed("not initialized", "initialize and unseal it")
	case health.Sealed:
		return sealed("sealed", "unseal it")
	}
	return responseFault(r, response)
}
