package soundness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
)

const (
	// oldest is the first minor version whose tokens name the node of their pod.
	oldest = 32
	// tokensInSecrets is the first one whose CSIDriver has serviceAccountTokenInSecrets.
	tokensInSecrets = 35
	// maxSkew is how far two clocks may be apart before ages and expiries mislead.
	maxSkew = 30 * time.Second
	// maxMetrics bounds what is read of the API server's metrics.
	maxMetrics = 32 << 20
)

// Policies are the ValidatingAdmissionPolicies of an installation, each with a binding of the same name.
var Policies = []string{
	"sallyport-connection-writes", "sallyport-resolver-certificates", "sallyport-rollouts", "sallyport-secret-references",
	"sallyport-service-account-references", "sallyport-sizes", "sallyport-task-references", "sallyport-token-requests",
	"sallyport-workloads",
}

// get asks the API server for what is no object.
func (c *checkup) get(ctx context.Context, path string) ([]byte, http.Header, error) {
	to, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return nil, nil, err
	}
	address, _, err := rest.DefaultServerUrlFor(c.Config)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	response, err := to.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, nil, apierrors.NewGenericServerResponse(response.StatusCode, http.MethodGet,
			v1alpha1.GroupVersion.WithResource(path).GroupResource(), path, "", 0, false)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMetrics))
	return body, response.Header, err
}

func (c *checkup) apiServer(ctx context.Context) error {
	body, header, err := c.get(ctx, "/version")
	if ok, failed := c.found("Kubernetes", err, ""); !ok {
		return failed
	}
	var version struct{ Minor, GitVersion string }
	if err := json.Unmarshal(body, &version); err != nil {
		return fmt.Errorf("the API server's version cannot be read: %w", err)
	}
	c.minor, _ = strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	if c.minor < oldest {
		c.say("Kubernetes", health.Degraded, "it is %s; Sallyport needs 1.%d or newer: upgrade the cluster", version.GitVersion, oldest)
	} else {
		c.say("Kubernetes", health.Healthy, "%s", version.GitVersion)
	}
	if c.clock, err = http.ParseTime(header.Get("Date")); err != nil {
		c.clock = c.now
	}
	if skew := c.now.Sub(c.clock).Abs().Round(time.Second); skew > maxSkew {
		c.say("Clock", health.Degraded, "the API server's clock and this machine's are %s apart: set them by NTP", skew)
	} else {
		c.say("Clock", health.Healthy, "the API server's and this machine's agree")
	}
	return nil
}

// switchedOff is a feature gate of the API server that is off.
var switchedOff = regexp.MustCompile(`(?m)^kubernetes_feature_enabled\{name="([^"]+)",stage="[^"]*"\} 0$`)

// gates are those that Sallyport needs. One that cannot be switched off any more is not among the metrics.
func (c *checkup) gates(ctx context.Context) error {
	body, _, err := c.get(ctx, "/metrics")
	if ok, failed := c.found("Feature gates", err, ""); !ok {
		return failed
	}
	if off := neededAndOff(body, c.minor); len(off) > 0 {
		c.say("Feature gates", health.Degraded, "the API server has %s switched off: switch it on", strings.Join(off, " and "))
		return nil
	}
	c.say("Feature gates", health.Healthy, "those that Sallyport needs are on")
	return nil
}

func neededAndOff(metrics []byte, minor int) []string {
	needed := map[string]bool{
		"ServiceAccountTokenPodNodeInfo": true, "ValidatingAdmissionPolicy": true,
		"CSIServiceAccountTokenSecrets": minor >= tokensInSecrets,
	}
	var off []string
	for _, match := range switchedOff.FindAllSubmatch(metrics, -1) {
		if gate := string(match[1]); needed[gate] {
			off = append(off, gate)
		}
	}
	return off
}

// kinds asks for one object of each, which fails as a whole where the cluster does not know them.
func (c *checkup) kinds(ctx context.Context) error {
	lists := []client.ObjectList{&v1alpha1.VaultConfigList{}, &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{}}
	for _, list := range lists {
		if err := c.List(ctx, list, client.Limit(1)); err != nil && !apierrors.IsForbidden(err) {
			return err
		}
	}
	c.say("Kinds", health.Healthy, "VaultConfig, Connection and VaultTask are known as %s", v1alpha1.GroupVersion)
	return nil
}

// policies are what keeps users from credentials that are not theirs.
func (c *checkup) policies(ctx context.Context) error {
	wrong := 0
	for _, name := range Policies {
		subject := "Admission policy " + name
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		missing := "it does not exist, so that what it forbids is allowed: apply config/admission"
		if ok, err := c.found(subject, c.Get(ctx, client.ObjectKey{Name: name}, policy), missing); !ok {
			if err != nil {
				return err
			}
			wrong++
			continue
		}
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		missing = "it has no binding, so that it forbids nothing: apply config/admission"
		if ok, err := c.found(subject, c.Get(ctx, client.ObjectKey{Name: name}, binding), missing); !ok {
			if err != nil {
				return err
			}
			wrong++
			continue
		}
		actions := binding.Spec.ValidationActions
		if binding.Spec.PolicyName != name || len(actions) != 1 || actions[0] != admissionregistrationv1.Deny {
			c.say(subject, health.Degraded, "its binding does not deny: apply config/admission")
			wrong++
		}
	}
	if wrong == 0 {
		c.say("Admission policies", health.Healthy, "all %d are there, and deny", len(Policies))
	}
	return nil
}

// needs are the rights without which nothing works; which Secrets the controller may read is the installation's choice.
func (c *checkup) needs() map[string][]authorizationv1.ResourceAttributes {
	in := c.namespace
	return map[string][]authorizationv1.ResourceAttributes{
		"sallyport-controller": {
			{Verb: "watch", Group: v1alpha1.GroupVersion.Group, Resource: "vaultconfigs"},
			{Verb: "watch", Group: v1alpha1.GroupVersion.Group, Resource: "connections"},
			{Verb: "watch", Group: v1alpha1.GroupVersion.Group, Resource: "vaulttasks"},
			{Verb: "patch", Group: v1alpha1.GroupVersion.Group, Resource: "vaultconfigs", Subresource: "status"},
			{Verb: "patch", Group: v1alpha1.GroupVersion.Group, Resource: "connections", Subresource: "status"},
			{Verb: "get", Resource: "pods"},
			{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
			{Verb: "patch", Resource: "configmaps", Name: resolvers, Namespace: in},
		},
		"sallyport-node": {{Verb: "get", Resource: "configmaps", Name: resolvers, Namespace: in}},
	}
}

// rights asks whether Sallyport's service accounts have theirs.
func (c *checkup) rights(ctx context.Context) error {
	wrong := 0
	needs := c.needs()
	for _, account := range []string{"sallyport-controller", "sallyport-node"} {
		namespace := c.namespace
		if account == "sallyport-node" {
			namespace = c.nodeNamespace
		}
		for n := range needs[account] {
			of := &needs[account][n]
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":" + account, ResourceAttributes: of,
			}}
			if ok, err := c.found("Rights", c.Create(ctx, review), ""); !ok {
				return err
			}
			if !review.Status.Allowed {
				what := strings.Trim(of.Resource+"/"+of.Subresource, "/")
				c.say("Rights of "+account, health.Degraded, "it may not %s %s: apply config/rbac", of.Verb, what)
				wrong++
			}
		}
	}
	if wrong == 0 {
		c.say("Rights", health.Healthy, "the service accounts have what Sallyport cannot do without")
	}
	return nil
}
