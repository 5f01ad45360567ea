package vaulttask

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
)

// maxData bounds what is written, as JSON: Vault's integrated storage takes no entry of 1 MiB.
const maxData = 1<<20 - 4<<10

// input returns what to write, all but what a wrapping token holds; it is forgotten when the run ends. A nil value removes a key.
func (a *attempt) input(ctx context.Context, to *target) (map[string]any, error) {
	spec := &a.task.Spec
	data, err := a.literal(ctx)
	if err != nil {
		return nil, err
	}
	for i := range spec.DataFrom {
		values, err := a.fromObject(ctx, &spec.DataFrom[i])
		if err != nil {
			return nil, err
		}
		if err := merge(data, values, "spec.dataFrom"); err != nil {
			return nil, err
		}
	}
	for i := range spec.Generate {
		value, err := generate(ctx, to.session, &spec.Generate[i])
		if err != nil {
			return nil, err
		}
		if err := merge(data, map[string]any{spec.Generate[i].Key: value}, "spec.generate"); err != nil {
			return nil, err
		}
	}
	for _, key := range spec.RemoveKeys {
		if err := merge(data, map[string]any{key: nil}, "spec.removeKeys"); err != nil {
			return nil, err
		}
	}
	a.volatile = a.volatile || len(spec.DataFrom)+len(spec.Generate) > 0 || spec.Unwrap != nil
	if spec.Unwrap != nil && !a.resumed && a.unwrapped() == nil {
		if err := a.checkWrapped(ctx, to); err != nil {
			return nil, err
		}
	}
	return data, fits(data)
}

// literal returns spec.data with its references resolved.
func (a *attempt) literal(ctx context.Context) (map[string]any, error) {
	texts := make(map[string]apiextensionsv1.JSON, len(a.task.Spec.Data))
	for key, text := range a.task.Spec.Data {
		encoded, err := json.Marshal(text)
		if err != nil {
			return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.data: key %q cannot be written as JSON", key)
		}
		texts[key] = apiextensionsv1.JSON{Raw: encoded}
	}
	value, err := expression.ParseValue(texts)
	if err != nil {
		return nil, fault.In(err, "spec.data")
	}
	a.volatile = len(value.References()) > 0
	data, err := a.engine.Evaluate(ctx, a.task.Namespace, value)
	if err != nil {
		return nil, fault.In(err, "spec.data")
	}
	return data, nil
}

// fromObject returns the keys of a Secret or ConfigMap, literally.
func (a *attempt) fromObject(ctx context.Context, source *v1alpha1.TaskDataSource) (map[string]any, error) {
	found := map[string]string{}
	var name string
	switch {
	case source.SecretRef != nil:
		name = "Secret " + a.task.Namespace + "/" + source.SecretRef.Name
		secret := &corev1.Secret{}
		if err := a.get(ctx, source.SecretRef.Name, secret, name); err != nil {
			return nil, err
		}
		for key, value := range secret.Data {
			found[key] = string(value)
		}
	case source.ConfigMapRef != nil:
		name = "ConfigMap " + a.task.Namespace + "/" + source.ConfigMapRef.Name
		configMap := &corev1.ConfigMap{}
		if err := a.get(ctx, source.ConfigMapRef.Name, configMap, name); err != nil {
			return nil, err
		}
		found = maps.Clone(configMap.Data)
		if found == nil {
			found = map[string]string{}
		}
		for key, value := range configMap.BinaryData {
			found[key] = string(value)
		}
	}
	keys := source.Keys
	if len(keys) == 0 {
		keys = slices.Sorted(maps.Keys(found))
	}
	values := make(map[string]any, len(keys))
	for _, key := range keys {
		value, exists := found[key]
		switch {
		case !exists:
			return nil, fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s has no key %q (spec.dataFrom); add it", name, key)
		case !utf8.ValidString(value):
			return nil, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s, key %q, is no UTF-8 text (spec.dataFrom), and Vault keeps text; encode it in base64", name, key)
		}
		values[source.Prefix+key] = value
	}
	return values, nil
}

// get reads an object of the task's namespace from the API server.
func (a *attempt) get(ctx context.Context, name string, object client.Object, shown string) error {
	err := a.live.Get(ctx, client.ObjectKey{Namespace: a.task.Namespace, Name: name}, object)
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s does not exist; create it", shown)
	case apierrors.IsForbidden(err):
		return fault.Waiting(v1alpha1.ReasonInternal, "Sallyport may not get %s; let its service account get it", shown)
	}
	return fault.Transient(v1alpha1.ReasonInternal, "%s cannot be read from the Kubernetes API: %v", shown, err)
}

// merge adds values to data. A key that two sources give is an error: which of them was meant must not depend on an order.
func merge(data, values map[string]any, source string) error {
	for key, value := range values {
		if _, exists := data[key]; exists {
			return fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s: the key %q is given by another source too; leave it out of one of them", source, key)
		}
		data[key] = value
	}
	return nil
}

func fits(data map[string]any) error {
	encoded, err := json.Marshal(data)
	switch {
	case err != nil:
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "the data cannot be written as JSON") // the error may quote a value
	case len(encoded) > maxData:
		return fault.Terminal(v1alpha1.ReasonTooLarge, "the data is %d bytes as JSON, and Vault stores less than 1 MiB; write less, or several secrets", len(encoded))
	}
	return nil
}
