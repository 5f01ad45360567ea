package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

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

// Start prunes every publishPeriod until ctx ends.
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
