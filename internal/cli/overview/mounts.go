package overview

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/diagnosis"
)

// Mount is a volume of a pod that holds a Connection, or a Connection that no pod mounts.
type Mount struct {
	Namespace      string       `json:"namespace"`
	Connection     string       `json:"connection"`
	Pod            string       `json:"pod,omitempty"`
	Volume         string       `json:"volume,omitempty"`
	Node           string       `json:"node,omitempty"`
	ServiceAccount string       `json:"serviceAccount,omitempty"`
	Since          *metav1.Time `json:"since,omitempty"`
	// Waits: the pod has not started.
	Waits bool `json:"waits,omitempty"`
	// Missing: there is no such Connection.
	Missing bool `json:"missing,omitempty"`
	// Secrets are those of the Connection that have versions.
	Secrets []Held `json:"secrets,omitempty"`
	// LastRefreshTime is when a volume of the Connection was last compared with Vault.
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`
}

// Held says which versions of a secret the volumes of a Connection hold: one volume holds one of these.
type Held struct {
	Path string `json:"path"`
	// Oldest and Newest are zero where no volume was counted yet.
	Oldest int64 `json:"oldest,omitempty"`
	Newest int64 `json:"newest,omitempty"`
	// Latest is what the controller last saw in Vault.
	Latest int64 `json:"latest,omitempty"`
}

// String is short: 3, 2 to 3, 2 to 3 (latest 4).
func (h Held) String() string {
	switch {
	case h.Newest == 0:
		return fmt.Sprintf("? (latest %d)", h.Latest)
	case h.Oldest != h.Newest:
		return fmt.Sprintf("%d to %d%s", h.Oldest, h.Newest, h.latest())
	default:
		return fmt.Sprintf("%d%s", h.Newest, h.latest())
	}
}

func (h Held) latest() string {
	if h.Latest == h.Newest || h.Latest == 0 {
		return ""
	}
	return fmt.Sprintf(" (latest %d)", h.Latest)
}

// Mounts are all mounts of a namespace, of all namespaces if it is empty.
func Mounts(ctx context.Context, objects client.Reader, namespace string) ([]Mount, error) {
	connections, pods := &v1alpha1.ConnectionList{}, &corev1.PodList{}
	for _, list := range []client.ObjectList{connections, pods} {
		if err := objects.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	known := map[client.ObjectKey]*v1alpha1.Connection{}
	for n := range connections.Items {
		known[client.ObjectKeyFromObject(&connections.Items[n])] = &connections.Items[n]
	}
	mounted := map[client.ObjectKey]bool{}
	var mounts []Mount
	for n := range pods.Items {
		pod := &pods.Items[n]
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, volume := range diagnosis.Volumes(&pod.Spec) {
			key := client.ObjectKey{Namespace: pod.Namespace, Name: volume.CSI.VolumeAttributes[v1alpha1.AttributeConnection]}
			mount := Mount{
				Pod: pod.Name, Volume: volume.Name, Node: pod.Spec.NodeName, ServiceAccount: pod.Spec.ServiceAccountName,
				Since: pod.Status.StartTime, Waits: !diagnosis.Started(pod), Missing: known[key] == nil,
			}
			mount.of(key, known[key])
			mounts = append(mounts, mount)
			mounted[key] = true
		}
	}
	for key, c := range known {
		if !mounted[key] {
			mount := Mount{}
			mount.of(key, c)
			mounts = append(mounts, mount)
		}
	}
	slices.SortFunc(mounts, func(a, b Mount) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Connection, b.Connection),
			cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Volume, b.Volume))
	})
	return mounts, nil
}

// of notes what the Connection's status says of its mounts.
func (m *Mount) of(key client.ObjectKey, c *v1alpha1.Connection) {
	m.Namespace, m.Connection = key.Namespace, key.Name
	if c == nil {
		return
	}
	for _, secret := range c.Status.Secrets {
		// Attached under two names, or attached and named by its path, a secret is there twice.
		if secret.Version > 0 && !slices.Contains(m.Secrets, Held{Path: secret.Path, Latest: secret.Version}) {
			m.Secrets = append(m.Secrets, Held{Path: secret.Path, Latest: secret.Version})
		}
	}
	if c.Status.Mounts == nil {
		return
	}
	m.LastRefreshTime = c.Status.Mounts.LastRefreshTime
	for _, served := range c.Status.Mounts.Secrets {
		at := slices.IndexFunc(m.Secrets, func(h Held) bool { return h.Path == served.Path })
		if at < 0 {
			m.Secrets = append(m.Secrets, Held{Path: served.Path})
			at = len(m.Secrets) - 1
		}
		m.Secrets[at].Oldest, m.Secrets[at].Newest = served.OldestVersion, served.NewestVersion
	}
}
