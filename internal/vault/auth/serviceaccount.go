package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// tokenLife is asked for when a service account token is made: the shortest that Kubernetes gives. It is used at once.
const tokenLife int64 = 600

// tokenPolicy is the ValidatingAdmissionPolicy that bounds which tokens the controller may make:
// config/admission/token-requests.yaml.
const tokenPolicy = "sallyport-token-requests"

const (
	kubernetesKind = "kubernetes"
	jwtKind        = "jwt"
)

var _ = register(registration{
	name: kubernetesKind,
	build: func(input Input) (Method, error) {
		return newServiceAccountMethod(kubernetesKind, input, input.Config.Spec.Auth.Kubernetes)
	},
})

var _ = register(registration{
	name: jwtKind,
	build: func(input Input) (Method, error) {
		return newServiceAccountMethod(jwtKind, input, input.Config.Spec.Auth.JWT)
	},
})

// serviceAccountMethod logs in with a service account token, by Vault's auth methods kubernetes and jwt.
type serviceAccountMethod struct {
	loginMount
	role      string
	audience  string
	container client.ObjectKey // the service account
	clients   kubernetes.Interface
	// workload is whom it logs in as: pods bring their own token, and for a VaultTask one is made; nil: the VaultConfig's
	// own service account.
	workload *WorkloadIdentity
}

func newServiceAccountMethod(kind string, input Input, auth *v1alpha1.ServiceAccountAuth) (Method, error) {
	mount, err := newLoginMount(input.Source, kind, kind+" role "+auth.Role, kind, auth.Mount, auth.VaultNamespace)
	if err != nil {
		return nil, err
	}
	m := &serviceAccountMethod{
		loginMount: mount, role: auth.Role, audience: cmp.Or(auth.Audience, v1alpha1.DefaultVaultAudience),
		clients: input.Clients, workload: input.Workload,
	}
	invalid := func(problem, remedy string) (Method, error) {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s", problem).WithRemedy("%s (%s)", remedy, m.actor)
	}
	switch {
	case (auth.ServiceAccountName != "") == isTrue(auth.Workload):
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "set exactly one of serviceAccountName and workload: true (%s)", m.actor)
	case auth.Role == "":
		return invalid("role: names none", "set it")
	case isTrue(auth.Workload) && m.workload == nil:
		return invalid("workload: this logs in as the pod that mounts a Connection, and here is none",
			"use a VaultConfig with serviceAccountName or another method")
	case m.workload != nil:
		m.container = client.ObjectKey{Namespace: m.workload.namespace, Name: m.workload.serviceAccount}
		m.actor += " as " + m.container.String()
	default:
		m.container = client.ObjectKey{Namespace: input.Config.Namespace, Name: auth.ServiceAccountName}
	}
	return m, nil
}

// who names the service account.
func (m *serviceAccountMethod) who() string { return "service account " + m.container.String() }

// Label implements Method.
func (m *serviceAccountMethod) Label() string {
	label := m.method + " role " + m.role
	if m.workload != nil {
		label += " as " + m.container.String()
	}
	return label
}

// Remedy implements Method.
func (m *serviceAccountMethod) Remedy() string {
	return "check role " + m.role + " of the auth method at " + m.mount
}

// nameField is the field that names the service account.
func (m *serviceAccountMethod) nameField() string {
	if m.workload != nil {
		return "spec.serviceAccountName in another VaultTask"
	}
	return m.field("serviceAccountName")
}

// ReadCredential returns the service account: a token is made when it is needed, and a fresh one is no other
// credential.
func (m *serviceAccountMethod) ReadCredential(context.Context, client.Reader) (Credential, error) {
	return Credential{Fingerprint: sha256.Sum256([]byte(m.container.String() + "\x00" + m.audience))}, nil
}

// Login implements Method.
func (m *serviceAccountMethod) Login(ctx context.Context, conn *transport.Conn, _ Credential) (*LoginResult, error) {
	jwt, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	return m.send(ctx, conn, loginRequest{
		path: "login", probe: "login",
		body:     func() map[string]string { return map[string]string{"role": m.role, "jwt": jwt} },
		diagnose: m.diagnose,
	})
}

// token returns a service account token with the audience that Vault is to demand.
func (m *serviceAccountMethod) token(ctx context.Context) (string, error) {
	if m.workload != nil && m.workload.task == "" {
		return m.workload.token(ctx, m.audience)
	}
	if m.clients == nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "no token can be made for %s: there is no way to the Kubernetes API (%s)",
			m.who(), m.actor)
	}
	life := tokenLife
	accounts := m.clients.CoreV1().ServiceAccounts(m.container.Namespace)
	made, err := accounts.CreateToken(ctx, m.container.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{m.audience}, ExpirationSeconds: &life},
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s does not exist (%s)", m.who(), m.actor).
			WithRemedy("create it, or correct %s", m.nameField())
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), tokenPolicy):
		// Nothing else in the error says who refused.
		return "", fault.Waiting(v1alpha1.ReasonInvalidSpec, "the admission policy %s allows Sallyport no token of %s for audience %q (%s)",
			tokenPolicy, m.who(), m.audience, m.actor).WithRemedy("let %s and Vault's role have vault in their audience, "+
			"take a service account of no system namespace, or add to the policy what it shall allow", m.field("audience"))
	case apierrors.IsForbidden(err):
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "Sallyport may not make a token for %s (%s)", m.who(), m.actor).
			WithRemedy("bind the ClusterRole sallyport-credentials to its service account in namespace %s", m.container.Namespace)
	case err != nil:
		return "", fault.Transient(v1alpha1.ReasonInternal,
			"making a token for %s (%s): the Kubernetes API did not answer the TokenRequest", m.who(), m.actor)
	}
	return made.Status.Token, m.refuseForAPIServer(ctx, made.Status.Token)
}

// refuseForAPIServer refuses a token that the API server itself would accept: whoever runs that Vault could act as the
// service account. Which audiences the API server accepts is its own affair, so it is asked (a TokenReview without
// audiences means those).
func (m *serviceAccountMethod) refuseForAPIServer(ctx context.Context, jwt string) error {
	review, err := m.clients.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: jwt},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return fault.Transient(v1alpha1.ReasonInternal,
			"the token made for %s (%s) cannot be reviewed: the Kubernetes API did not answer the TokenReview", m.who(), m.actor)
	case review.Status.Authenticated:
		// Not terminal: which audiences the API server accepts can change without an edit of the VaultConfig.
		return fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s: %q is an audience of the API server (%s)",
			m.field("audience"), m.audience, m.actor).
			WithRemedy("name one of Vault's own, such as vault: a token for this one would open Kubernetes to whoever receives it")
	}
	return nil
}

func (m *serviceAccountMethod) diagnose(response *transport.Response) (problem, remedy string) {
	bound := "bound_service_account_names, bound_service_account_namespaces and audience"
	if m.method == jwtKind {
		bound = "bound_subject, bound_claims and bound_audiences"
	}
	switch {
	case response.Says("invalid role name"), response.Says("could not be found"):
		return "there is no such role", "create it in Vault, or correct " + m.field("role")
	case response.Says("audience"):
		return "the role demands another audience than " + m.audience,
			"set the same in the role and in " + m.field("audience")
	case response.Says("expired"), response.Says("not yet valid"), response.Says("before issued"),
		response.Says("issued at"), response.Says("not valid yet"):
		return "the token's time does not fit Vault's clock", "set the clocks of Vault's and the API server's machines right"
	case response.Says("could not load configuration"), response.Says("could not load backend configuration"):
		return "the auth method is not configured", "write auth/" + m.mount + "/config in Vault"
	case response.Says("not authorized"):
		return "the role does not allow " + m.who(), "let its " + bound + " allow it"
	case m.method == kubernetesKind && response.Is(http.StatusForbidden):
		return "Vault could not have the token of " + m.who() + " reviewed, or its role does not allow it",
			"let the role's " + bound + " allow it (audience " + m.audience + "), and Vault create tokenreviews at the API server that auth/" +
				m.mount + "/config names"
	}
	return "the role does not accept the token of " + m.who(),
		"check its " + bound + " (audience " + m.audience + ") and auth/" + m.mount + "/config"
}
