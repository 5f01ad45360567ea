package vault

import (
	"context"
	"crypto/sha256"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// tokenLife is asked for when a service account token is made: the shortest that Kubernetes gives. It is used at once.
const tokenLife int64 = 600

const (
	kubernetesKind = "kubernetes"
	jwtKind        = "jwt"
)

// serviceAccountMethod logs in with a service account token, by Vault's auth methods kubernetes and jwt.
type serviceAccountMethod struct {
	loginMount
	kind      string
	role      string
	audience  string
	who       string // the service account, for sentences
	container client.ObjectKey
	clients   kubernetes.Interface
	// workload brings the mounting pod's own token; nil: one is made for the service account.
	workload *visitor
}

func newServiceAccountMethod(
	kind string, config *v1alpha1.VaultConfig, auth *v1alpha1.ServiceAccountAuth, clients kubernetes.Interface, workload *visitor,
) (method, error) {
	mount, err := newLoginMount(config, kind, kind+" role "+auth.Role, kind, auth.Mount, auth.VaultNamespace)
	m := &serviceAccountMethod{loginMount: mount, kind: kind, role: auth.Role, audience: audienceOf(auth), clients: clients, workload: workload}
	invalid := func(format string, args ...any) (method, error) {
		return m, fault.Terminal(v1alpha1.ReasonInvalidSpec, format+" ("+m.as+")", args...)
	}
	switch {
	case err != nil:
		return m, err
	case (auth.ServiceAccountName != "") == isTrue(auth.Workload):
		return invalid("set exactly one of serviceAccountName and workload: true")
	case auth.Role == "":
		return invalid("role: names none; set it")
	case isTrue(auth.Workload) && workload == nil:
		return invalid("workload: this logs in as the pod that mounts a Connection, and here is none; use a VaultConfig with serviceAccountName or another method")
	case workload != nil:
		m.container = client.ObjectKey{Namespace: workload.namespace, Name: workload.serviceAccount}
		m.as += " as " + m.container.String()
	default:
		m.container = client.ObjectKey{Namespace: config.Namespace, Name: auth.ServiceAccountName}
	}
	m.who = "service account " + m.container.String()
	return m, nil
}

func audienceOf(auth *v1alpha1.ServiceAccountAuth) string {
	if auth.Audience == "" {
		return v1alpha1.DefaultVaultAudience
	}
	return auth.Audience
}

func (m *serviceAccountMethod) label() string {
	label := m.kind + " role " + m.role
	if m.workload != nil {
		label += " as " + m.container.String()
	}
	return label
}

func (m *serviceAccountMethod) cure() string {
	return "check role " + m.role + " of the auth method at " + m.mount
}

// credential is who logs in: a token is made when it is needed, and a fresh one is no other credential.
func (m *serviceAccountMethod) credential(context.Context, client.Reader) (credential, error) {
	return credential{fingerprint: sha256.Sum256([]byte(m.container.String() + "\x00" + m.audience))}, nil
}

func (m *serviceAccountMethod) login(ctx context.Context, l *link, _ credential) (*grant, error) {
	jwt, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	return l.login(ctx, m.loginMount, attempt{
		path: "login", probe: "login", harmless: true,
		body:     func() map[string]string { return map[string]string{"role": m.role, "jwt": jwt} },
		diagnose: m.diagnose,
	})
}

// token returns a service account token with the audience that Vault is to demand.
func (m *serviceAccountMethod) token(ctx context.Context) (string, error) {
	if m.workload != nil {
		return m.workload.token(ctx, m.audience)
	}
	if m.clients == nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "no token can be made for %s: there is no way to the Kubernetes API (%s)", m.who, m.as)
	}
	life := tokenLife
	made, err := m.clients.CoreV1().ServiceAccounts(m.container.Namespace).CreateToken(ctx, m.container.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{m.audience}, ExpirationSeconds: &life},
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s does not exist (%s); create it, or correct %s.serviceAccountName", m.who, m.as, m.field)
	case apierrors.IsForbidden(err):
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "Sallyport may not make a token for %s (%s); bind the ClusterRole "+
			"sallyport-credentials to its service account in namespace %s", m.who, m.as, m.container.Namespace)
	case err != nil:
		return "", fault.Transient(v1alpha1.ReasonInternal, "making a token for %s (%s): the Kubernetes API did not answer the TokenRequest", m.who, m.as)
	}
	return made.Status.Token, m.harmlessElsewhere(ctx, made.Status.Token)
}

// harmlessElsewhere refuses a token that the API server itself would accept: whoever runs that Vault could act as the service account.
// Which audiences the API server accepts is its own affair, so it is asked (a TokenReview without audiences means those).
func (m *serviceAccountMethod) harmlessElsewhere(ctx context.Context, jwt string) error {
	review, err := m.clients.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: jwt},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return fault.Transient(v1alpha1.ReasonInternal, "the token made for %s (%s) cannot be reviewed: the Kubernetes API did not answer the TokenReview", m.who, m.as)
	case review.Status.Authenticated:
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s.audience: %q is an audience of the API server (%s); name one of Vault's own, such as vault: "+
			"a token for this one would open Kubernetes to whoever receives it", m.field, m.audience, m.as)
	}
	return nil
}

func (m *serviceAccountMethod) diagnose(a *answer) (problem, cure string) {
	bound := "bound_service_account_names, bound_service_account_namespaces and audience"
	if m.kind == jwtKind {
		bound = "bound_subject, bound_claims and bound_audiences"
	}
	switch {
	case a.says("invalid role name"), a.says("could not be found"):
		return "there is no such role", "create it in Vault, or correct " + m.field + ".role"
	case a.says("audience"):
		return "the role demands another audience than " + m.audience, "set the same in the role and in " + m.field + ".audience"
	case a.says("expired"), a.says("not yet valid"), a.says("before issued"), a.says("issued at"), a.says("not valid yet"):
		return "the token's time does not fit Vault's clock", "set the clocks of Vault's and the API server's machines right"
	case a.says("could not load configuration"), a.says("could not load backend configuration"):
		return "the auth method is not configured", "write auth/" + m.mount + "/config in Vault"
	case a.says("not authorized"):
		return "the role does not allow " + m.who, "let its " + bound + " allow it"
	case m.kind == kubernetesKind && a.status == http.StatusForbidden:
		return "Vault could not have the token of " + m.who + " reviewed, or its role does not allow it",
			"let the role's " + bound + " allow it (audience " + m.audience + "), and Vault create tokenreviews at the API server that auth/" + m.mount + "/config names"
	}
	return "the role does not accept the token of " + m.who, "check its " + bound + " (audience " + m.audience + ") and auth/" + m.mount + "/config"
}
