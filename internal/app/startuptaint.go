package app

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// startupTaint takes the taint StartupTaint off the plugin's own Node each time that the kubelet has accepted the
// driver: a Node that was deleted is made anew, with its taints, by a kubelet that starts, and that one asks the driver
// again. Until it is accepted, no pod that mounts a Connection could start there.
type startupTaint struct {
	nodes    typedcorev1.NodeInterface
	node     string
	accepted chan struct{}
	log      logr.Logger
}

func newStartupTaint(nodes typedcorev1.NodeInterface, node string, log logr.Logger) *startupTaint {
	return &startupTaint{nodes: nodes, node: node, accepted: make(chan struct{}, 1), log: log.WithName("startup-taint")}
}

// registered does not wait: one that is noted already serves for this one too.
func (s *startupTaint) registered() {
	select {
	case s.accepted <- struct{}{}:
	default:
	}
}

func (s *startupTaint) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.accepted:
			s.takeOff(ctx)
		}
	}
}

// takeOff tries until it succeeds: the node is of no use before that. The first of many failures is told, as an error
// if somebody has to act: the rights or the policy of config/startup-taint are missing.
func (s *startupTaint) takeOff(ctx context.Context) {
	told := false
	pauses := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 30 * time.Second}
	_ = pauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := s.try(ctx)
		if err != nil && !told {
			told = true
			const message = "The taint is still on this Node, and pods stay away; trying again"
			if apierrors.IsForbidden(err) {
				s.log.Error(err, message, "taint", v1alpha1.StartupTaint)
			} else {
				s.log.Info(message, "taint", v1alpha1.StartupTaint, "why", err.Error())
			}
		}
		return err == nil, nil
	})
}

// try patches what was read, or fails: other taints come and go meanwhile.
func (s *startupTaint) try(ctx context.Context) error {
	node, err := s.nodes.Get(ctx, s.node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	ours := func(taint corev1.Taint) bool { return taint.Key == v1alpha1.StartupTaint }
	if !slices.ContainsFunc(node.Spec.Taints, ours) {
		return nil
	}
	rest := slices.DeleteFunc(slices.Clone(node.Spec.Taints), ours)
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/spec/taints", "value": node.Spec.Taints},
		{"op": "replace", "path": "/spec/taints", "value": rest},
	})
	if err != nil {
		return err
	}
	if _, err := s.nodes.Patch(ctx, s.node, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	s.log.Info("The kubelet has accepted the driver: pods may come", "taint", v1alpha1.StartupTaint)
	return nil
}
