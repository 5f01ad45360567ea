package isolation

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// pods makes pods with ten volumes each, and has the kubelet mount them.
func (t *Tenant) mountPods(number int, connections ...string) (*mounts, error) {
	var requests []*csi.NodePublishVolumeRequest
	for i := range number {
		more, err := t.newPod(fmt.Sprintf("pod-%d", i), connections...)
		if err != nil {
			return nil, err
		}
		requests = append(requests, more...)
	}
	return t.keepMounting(requests), nil
}

// ten makes the Connections of a pod's ten volumes.
func (t *Tenant) ten(option func(*v1alpha1.Connection)) ([]string, error) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("connection-%d", i))
	}
	return names, t.createMany(len(names), func(i int) client.Object {
		return t.connection(names[i], fmt.Sprintf("x/%d", i), option)
	})
}

// hangingVolumes are mounted while their Vault answers, and refreshed when it no longer does.
func hangingVolumes(t *Tenant) (Proof, error) {
	var silent atomic.Bool
	var hung atomic.Int64
	var s *server
	s, err := t.serveAs(func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		if silent.Load() {
			hung.Add(1)
			s.hang(r.Context())
		}
		return silent.Load()
	})
	if err != nil {
		return nil, err
	}
	names, err := t.ten(func(*v1alpha1.Connection) {})
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(10, names...)
	if err != nil {
		return nil, err
	}
	err = eventually(t.ctx, 20*time.Second, func(context.Context) error {
		if mounted := mounts.mounted(); mounted < 100 {
			return fmt.Errorf("%d volumes are mounted", mounted)
		}
		return nil
	})
	silent.Store(true)
	return both(atLeast(100, "volumes", mounts.mounted), atLeast(1, "requests hung", func() int { return int(hung.Load()) })), err
}

func emptyFiles(t *Tenant) (Proof, error) {
	if _, err := t.serveAs(nil); err != nil {
		return nil, err
	}
	value := map[string]any{}
	for i := range 510 {
		value[fmt.Sprintf("%0250d", i)] = ""
	}
	names, err := t.ten(func(c *v1alpha1.Connection) { c.Spec.Value, c.Spec.VaultSecrets = builder.JSON(value), nil })
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(12, names...)
	if err != nil {
		return nil, err
	}
	return both(atLeast(120, "mounts were asked for", mounts.asked), func() (string, error) {
		return fmt.Sprintf("%d were mounted", mounts.mounted()), nil
	}), nil
}

func manyVolumes(t *Tenant) (Proof, error) {
	if _, err := t.serveAs(nil); err != nil {
		return nil, err
	}
	names, err := t.ten(func(*v1alpha1.Connection) {})
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(heavier(40, 300), names...)
	if err != nil {
		return nil, err
	}
	return both(atLeast(200, "mounts were asked for", mounts.asked), func() (string, error) {
		return fmt.Sprintf("%d were mounted", mounts.mounted()), nil
	}), nil
}
