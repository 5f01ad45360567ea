// Package cluster is how the plugin reaches the API server: with the user's own kubeconfig and rights, typed for the
// kinds that it looks at. Whatever the API server or the network answers becomes one sentence here.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// InstallNamespace is where Sallyport is installed, unless somebody chose another place.
const InstallNamespace = "sallyport-system"

// nowhere is the address that client-go assumes where nothing says another.
const nowhere = "http://localhost:8080"

// Cluster is the API server that the user's kubeconfig names.
type Cluster struct {
	client.Client
	// Config is how it is reached.
	Config *rest.Config
	// Namespace is the one of the flag --namespace, or of the kubeconfig's context.
	Namespace string
}

// Connect makes a client; nothing is asked yet but which kinds there are, when they are needed.
func Connect(flags *genericclioptions.ConfigFlags) (*Cluster, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, Explain(err)
	}
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, Explain(err)
	}
	if config.Host == nowhere && len(raw.Clusters) == 0 && *flags.APIServer == "" {
		return nil, errors.New("there is no cluster: no kubeconfig was found, or it is empty; set KUBECONFIG, or --kubeconfig")
	}
	// A list of everything is some ten requests at once.
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, Explain(err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, Explain(err)
	}
	// Of what an older installation does not know, nothing is left out without a word.
	strict := client.WithFieldValidation(c, metav1.FieldValidationStrict)
	return &Cluster{Client: strict, Config: config, Namespace: namespace}, nil
}

// Explain turns what the API server, the network or the kubeconfig says into one sentence with the cure.
func Explain(err error) error {
	var (
		noKind  *meta.NoKindMatchError
		noMatch *meta.NoResourceMatchError
		file    *fs.PathError // whose cause is a net.Error, too
		dial    net.Error
		asked   *url.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &noKind) || errors.As(err, &noMatch):
		if group := groupOf(noKind, noMatch); group != v1alpha1.GroupVersion.Group {
			return errors.New("the cluster knows no such kind of " + group + ": what defines it is not installed")
		}
		return errors.New("the cluster does not know a kind of Sallyport's (" + kindOf(noKind) +
			"): Sallyport is not installed, or older than this plugin; apply config/crd of the plugin's version")
	case apierrors.IsUnauthorized(err):
		return errors.New("the API server does not accept your credentials; log in to the cluster again")
	case apierrors.IsForbidden(err) && !withoutRight.MatchString(err.Error()):
		return fmt.Errorf("the API server refuses it: %s", oneLine(err))
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not do that: %w; whoever runs the cluster can give you the cluster role view, for changes "+
			"edit, for VaultTasks admin", err)
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "strict decoding error"):
		return fmt.Errorf("this cluster has an older Sallyport than this plugin is for: %s; apply config/crd of the plugin's version",
			oneLine(err))
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the API server did not answer in time; see --request-timeout and kubectl cluster-info")
	case errors.As(err, &file), clientcmd.IsConfigurationInvalid(err), clientcmd.IsContextNotFound(err):
		return fmt.Errorf("the kubeconfig is not usable: %s", oneLine(err))
	case errors.As(err, &asked), errors.As(err, &dial):
		return fmt.Errorf("the API server cannot be reached: %s; see kubectl cluster-info", oneLine(err))
	default:
		return errors.New(oneLine(err))
	}
}

// withoutRight is what the API server says where a right is missing. A quota, an admission policy and a namespace
// that is being deleted forbid things, too, and no role cures that.
var withoutRight = regexp.MustCompile(`User "[^"]*" cannot `)

// groupOf is the group of what is not known: one of the errors is set.
func groupOf(noKind *meta.NoKindMatchError, noMatch *meta.NoResourceMatchError) string {
	if noKind != nil {
		return noKind.GroupKind.Group
	}
	return noMatch.PartialResource.Group
}

func kindOf(err *meta.NoKindMatchError) string {
	if err == nil {
		return v1alpha1.GroupVersion.String()
	}
	return err.GroupKind.Kind + " of " + v1alpha1.GroupVersion.String()
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
