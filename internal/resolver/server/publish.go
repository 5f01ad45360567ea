package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// publishPeriod is the interval between two looks whether the replica is still published, and two steps of a
	// rotation. A next certificate is therefore known to the nodes for this long before it is served.
	publishPeriod = 30 * time.Second
	// publishRetry is the pause after a failed attempt.
	publishRetry = time.Second
)

// Publisher keeps the certificate of one replica in the ConfigMap that the nodes watch. Each replica owns its own key
// there, by server-side apply under a field manager of its own; a ValidatingAdmissionPolicy sees to it that nobody
// writes another's.
type Publisher struct {
	configMaps  corev1client.ConfigMapInterface
	certificate *ServingCertificate
	log         logr.Logger
	published   atomic.Bool
	// behind is true while the ConfigMap may lack the certificate's last rotation.
	behind bool
}

// NewPublisher returns a publisher that writes through configMaps, the client for Sallyport's own namespace.
func NewPublisher(
	configMaps corev1client.ConfigMapInterface, certificate *ServingCertificate, log logr.Logger,
) *Publisher {
	return &Publisher{configMaps: configMaps, certificate: certificate, log: log}
}

// NeedLeaderElection tells the manager to publish every replica.
func (p *Publisher) NeedLeaderElection() bool { return false }

// Ready is a readiness check: a replica that no node can know yet is not ready.
func (p *Publisher) Ready(*http.Request) error {
	if !p.published.Load() {
		return errors.New("the resolver's certificate is not published yet")
	}
	return nil
}

// Start publishes until ctx ends and then takes the replica out of the ConfigMap, so that nodes stop asking it.
func (p *Publisher) Start(ctx context.Context) error {
	for pause := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return p.withdraw(context.WithoutCancel(ctx))
		case <-time.After(pause):
		}
		pause = publishPeriod
		if err := p.publish(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "publishing the resolver's certificate")
			pause = publishRetry
		}
	}
}

func (p *Publisher) publish(ctx context.Context) error {
	// A rotation moves on only when its last step is known to the nodes: during an outage of the API server a
	// certificate that was never published would be served otherwise.
	if !p.behind {
		changed, err := p.certificate.Rotate()
		if err != nil {
			return err
		}
		p.behind = changed || !p.published.Load()
	}
	if !p.behind {
		current, err := p.configMaps.Get(ctx, resolverv1.ConfigMapName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading ConfigMap %s: %w", resolverv1.ConfigMapName, err)
		}
		if err == nil && current.Data[p.certificate.name] == p.certificate.Bundle() {
			return nil
		}
	}
	if err := p.apply(ctx, map[string]string{p.certificate.name: p.certificate.Bundle()}); err != nil {
		p.behind = true
		return err
	}
	p.behind = false
	if !p.published.Swap(true) {
		p.log.Info("published the resolver's certificate", "configMap", resolverv1.ConfigMapName, "key", p.certificate.name)
	}
	return nil
}

// withdraw applies the ConfigMap without this replica's key, which removes it because the replica owned it.
func (p *Publisher) withdraw(ctx context.Context) error {
	if !p.published.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.apply(ctx, nil); err != nil {
		p.log.Error(err, "withdrawing the resolver's certificate")
	}
	return nil
}

func (p *Publisher) apply(ctx context.Context, data map[string]string) error {
	configuration := corev1apply.ConfigMap(resolverv1.ConfigMapName, "").WithData(data)
	configuration.Namespace = nil // the client knows it
	options := metav1.ApplyOptions{FieldManager: "sallyport-resolver-" + p.certificate.name, Force: true}
	_, err := p.configMaps.Apply(ctx, configuration, options)
	if err != nil {
		return fmt.Errorf("applying ConfigMap %s: %w", resolverv1.ConfigMapName, err)
	}
	return nil
}
