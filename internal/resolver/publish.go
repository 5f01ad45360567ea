package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// publishPeriod is how often a replica looks whether it is still published, and moves a renewal on. A next certificate is
	// therefore known to the nodes for this long before it is served.
	publishPeriod = 30 * time.Second
	// publishRetry is the pause after a failed attempt.
	publishRetry = time.Second
)

// Publisher keeps the certificate of one replica in the ConfigMap that the nodes watch. Each replica owns its own key there, by
// server-side apply under a field manager of its own; a ValidatingAdmissionPolicy sees to it that nobody writes another's.
type Publisher struct {
	configMaps corev1client.ConfigMapInterface
	identity   *Identity
	log        logr.Logger
	published  atomic.Bool
	// behind is true while the ConfigMap may lack what the identity last moved on to.
	behind bool
}

// NewPublisher returns a publisher that writes through configMaps, the client for Sallyport's own namespace.
func NewPublisher(configMaps corev1client.ConfigMapInterface, identity *Identity, log logr.Logger) *Publisher {
	return &Publisher{configMaps: configMaps, identity: identity, log: log}
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
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return p.withdraw(context.WithoutCancel(ctx))
		case <-time.After(wait):
		}
		wait = publishPeriod
		if err := p.publish(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "publishing the resolver's certificate")
			wait = publishRetry
		}
	}
}

func (p *Publisher) publish(ctx context.Context) error {
	// A renewal moves on only when its last step is known to the nodes: during an outage of the API server a certificate that
	// was never published would be served otherwise.
	if !p.behind {
		changed, err := p.identity.Rotate()
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
		if err == nil && current.Data[p.identity.name] == p.identity.Bundle() {
			return nil
		}
	}
	if err := p.apply(ctx, map[string]string{p.identity.name: p.identity.Bundle()}); err != nil {
		p.behind = true
		return err
	}
	p.behind = false
	if !p.published.Swap(true) {
		p.log.Info("published the resolver's certificate", "configMap", resolverv1.ConfigMapName, "key", p.identity.name)
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
	_, err := p.configMaps.Apply(ctx, configuration, metav1.ApplyOptions{FieldManager: "sallyport-resolver-" + p.identity.name, Force: true})
	if err != nil {
		return fmt.Errorf("applying ConfigMap %s: %w", resolverv1.ConfigMapName, err)
	}
	return nil
}

// Pruner removes from the ConfigMap what crashed replicas left there. It runs in the leader.
type Pruner struct {
	configMaps corev1client.ConfigMapInterface
	pods       corev1client.PodInterface
	log        logr.Logger
}

// NewPruner returns a pruner that works through the clients for Sallyport's own namespace.
func NewPruner(configMaps corev1client.ConfigMapInterface, pods corev1client.PodInterface, log logr.Logger) *Pruner {
	return &Pruner{configMaps: configMaps, pods: pods, log: log}
}

// NeedLeaderElection tells the manager to prune in the leader only.
func (p *Pruner) NeedLeaderElection() bool { return true }

// Start prunes now and then until ctx ends.
func (p *Pruner) Start(ctx context.Context) error {
	for {
		if err := p.prune(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "pruning the resolvers' certificates")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(publishPeriod):
		}
	}
}

func (p *Pruner) prune(ctx context.Context) error {
	current, err := p.configMaps.Get(ctx, resolverv1.ConfigMapName, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("reading ConfigMap %s: %w", resolverv1.ConfigMapName, err)
	}
	for name, bundle := range current.Data {
		pod, err := p.pods.Get(ctx, name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			continue
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading Pod %s: %w", name, err)
		}
		if err := p.remove(ctx, name, bundle); err != nil {
			return err
		}
		p.log.Info("removed the certificate of a replica that is gone", "key", name)
	}
	return nil
}

// remove deletes one key, unless its content changed since it was looked at.
func (p *Pruner) remove(ctx context.Context, name, bundle string) error {
	path := "/data/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	patch, err := json.Marshal([]map[string]string{
		{"op": "test", "path": path, "value": bundle},
		{"op": "remove", "path": path},
	})
	if err != nil {
		return err
	}
	_, err = p.configMaps.Patch(ctx, resolverv1.ConfigMapName, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsInvalid(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing %s from ConfigMap %s: %w", name, resolverv1.ConfigMapName, err)
	}
	return nil
}
