package builder

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// VaultTask returns a VaultTask that uses the VaultConfig "main". The path is spec.path of a generic operation, and
// spec.secretPath of any other.
func VaultTask(
	namespace, name string, operation v1alpha1.VaultTaskOperation, path string, options ...func(*v1alpha1.VaultTask),
) *v1alpha1.VaultTask {
	task := &v1alpha1.VaultTask{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.VaultTaskSpec{
			TaskTarget: v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: ConfigName}},
			Operation:  operation,
		},
	}
	if operation.Generic() {
		task.Spec.Path = path
	} else {
		task.Spec.SecretPath = path
	}
	return apply(task, options)
}

// WithData sets what the task writes.
func WithData(data map[string]v1alpha1.TaskValue) func(*v1alpha1.VaultTask) {
	return func(t *v1alpha1.VaultTask) { t.Spec.Data = data }
}

// WithConfig lets the task use another VaultConfig of its namespace.
func WithConfig(name string) func(*v1alpha1.VaultTask) {
	return func(t *v1alpha1.VaultTask) { t.Spec.VaultConfigRef = &v1alpha1.VaultConfigReference{Name: name} }
}
