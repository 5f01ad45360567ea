package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/tenancy"
)

// Load reads the VaultConfigs of a namespace, of all if it is empty, or those with the given names, and all that may
// use them.
func Load(ctx context.Context, cluster client.Reader, namespace string, names []string) (*Objects, error) {
	o := &Objects{}
	for _, name := range names {
		config := v1alpha1.VaultConfig{}
		if err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &config); err != nil {
			return nil, err
		}
		o.Configs = append(o.Configs, config)
	}
	if len(names) == 0 {
		configs := &v1alpha1.VaultConfigList{}
		if err := cluster.List(ctx, configs, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		o.Configs = configs.Items
	}
	users := namespace
	if slices.ContainsFunc(o.Configs, func(c v1alpha1.VaultConfig) bool { return len(c.Spec.AllowedNamespaces) > 0 }) {
		users = ""
	}
	err := o.loadUsers(ctx, cluster, users)
	if users != namespace && apierrors.IsForbidden(err) {
		o.Unseen = true
		err = o.loadUsers(ctx, cluster, namespace)
	}
	if err == nil {
		err = o.loadLabels(ctx, cluster)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Objects) loadUsers(ctx context.Context, cluster client.Reader, namespace string) error {
	connections, tasks := &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{}
	if err := cluster.List(ctx, connections, client.InNamespace(namespace)); err != nil {
		return err
	}
	if err := cluster.List(ctx, tasks, client.InNamespace(namespace)); err != nil {
		return err
	}
	o.Connections, o.Tasks = connections.Items, tasks.Items
	return nil
}

// loadLabels reads those of the namespaces, where something may depend on them.
func (o *Objects) loadLabels(ctx context.Context, cluster client.Reader) error {
	if o.Unseen || !slices.ContainsFunc(o.Configs, func(c v1alpha1.VaultConfig) bool { return tenancy.Selects(&c) }) {
		return nil
	}
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := cluster.List(ctx, namespaces); err != nil {
		return err
	}
	for n := range namespaces.Items {
		o.label(namespaces.Items[n].Name, namespaces.Items[n].Labels)
	}
	return nil
}

func (o *Objects) label(namespace string, labels map[string]string) {
	if o.Labels == nil {
		o.Labels = map[string]map[string]string{}
	}
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = namespace
	o.Labels[namespace] = labels
}

// ErrNothing says that files hold nothing that a policy could be made of.
var ErrNothing = errors.New("there is no VaultConfig, Connection or VaultTask in the files")

// Read reads the objects of files; what is of other kinds does not matter. Those that name no namespace are in the
// given one. What a dash stands for is read from in.
func Read(files resource.FilenameOptions, in io.Reader, namespace string) (*Objects, error) {
	builder := resource.NewLocalBuilder().Unstructured()
	if slices.Contains(files.Filenames, "-") {
		files.Filenames = slices.DeleteFunc(slices.Clone(files.Filenames), func(name string) bool { return name == "-" })
		builder = builder.Stream(in, "standard input")
	}
	if len(files.Filenames) > 0 {
		builder = builder.FilenameParam(false, &files)
	}
	infos, err := builder.Flatten().Do().Infos()
	if err != nil { // not as one of the cluster
		return nil, errors.New(err.Error())
	}
	o := &Objects{Partial: true}
	for _, info := range infos {
		object, is := info.Object.(*unstructured.Unstructured)
		if !is {
			continue
		}
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		if err := o.add(object); err != nil {
			return nil, fmt.Errorf("the %s %s/%s is none that this plugin can read: %w",
				object.GetKind(), object.GetNamespace(), object.GetName(), err)
		}
	}
	if len(o.Configs)+len(o.Connections)+len(o.Tasks) == 0 {
		return nil, ErrNothing
	}
	return o, nil
}

func (o *Objects) add(object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	if kind == corev1.SchemeGroupVersion.WithKind("Namespace") {
		o.label(object.GetName(), object.GetLabels())
		return nil
	}
	if kind.GroupVersion() != v1alpha1.GroupVersion {
		return nil
	}
	into := runtime.DefaultUnstructuredConverter
	switch kind.Kind {
	case "VaultConfig":
		o.Configs = append(o.Configs, v1alpha1.VaultConfig{})
		return into.FromUnstructured(object.Object, &o.Configs[len(o.Configs)-1])
	case "Connection":
		o.Connections = append(o.Connections, v1alpha1.Connection{})
		return into.FromUnstructured(object.Object, &o.Connections[len(o.Connections)-1])
	case "VaultTask":
		o.Tasks = append(o.Tasks, v1alpha1.VaultTask{})
		return into.FromUnstructured(object.Object, &o.Tasks[len(o.Tasks)-1])
	}
	return nil
}
