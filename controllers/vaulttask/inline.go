package vaulttask

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// ownSessions are the tasks that have sessions with Vault of their own, so that these end with them: with the Vault
// that stands in the task, or as its service account. It is safe for concurrent use.
type ownSessions struct {
	mu   sync.Mutex
	uids map[types.NamespacedName]types.UID
}

// add notes that a task has a session of its own, under its UID.
func (s *ownSessions) add(task *v1alpha1.VaultTask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uids[client.ObjectKeyFromObject(task)] = task.UID
}

// remove returns whose session a task had, if it had one of its own, and forgets it.
func (s *ownSessions) remove(task types.NamespacedName) (types.UID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	uid, found := s.uids[task]
	delete(s.uids, task)
	return uid, found
}

// workload is whom VaultConfigs with workload: true log in for a task: the service account of its namespace that it
// names; nil if it names none.
func (r *Reconciler) workload(task *v1alpha1.VaultTask) *auth.Workload {
	if task.Spec.ServiceAccountName == "" {
		return nil
	}
	r.own.add(task)
	return &auth.Workload{Namespace: task.Namespace, ServiceAccount: task.Spec.ServiceAccountName, Task: task.UID}
}

// inlineConfig is a VaultConfig that exists only for the task, and goes by the task's name.
func (a *access) inlineConfig(inline v1alpha1.InlineVault) *v1alpha1.VaultConfig {
	return &v1alpha1.VaultConfig{
		TypeMeta: metav1.TypeMeta{Kind: "VaultTask"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.task.Namespace, Name: a.task.Name, UID: a.task.UID, Generation: a.task.Generation,
		},
		Spec: v1alpha1.VaultConfigSpec{
			URL: inline.URL, VaultNamespace: inline.VaultNamespace,
			CACertificate: inline.CACertificate, CACertificateFrom: inline.CACertificateFrom,
			Headers: inline.Headers, Auth: inline.Auth,
		},
	}
}
