package vaulttask

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// maxData bounds what is written, as JSON: Vault's integrated storage takes no entry of 1 MiB.
const maxData = 1<<20 - 4<<10

// input returns what to write, all but what a wrapping token holds; it is forgotten when the run ends. A nil value
// removes a key.
func (a *attempt) input(ctx context.Context, to *target) (map[string]any, error) {
	data, err := (&input{Reconciler: a.Reconciler, task: a.task, held: &a.held}).gather(ctx, to)
	if err != nil {
		return nil, err
	}
	if a.task.Spec.Unwrap != nil && !a.resumed && a.state.Unwrapped() == nil {
		if err := a.checkWrapped(ctx, to); err != nil {
			return nil, err
		}
	}
	return data, fits(data)
}

// input are the sources of what a task writes.
type input struct {
	*Reconciler
	task *v1alpha1.VaultTask
	held *[]func()
}

const (
	// writtenTimes is how often what is written exists at one moment: as values, as JSON, and in the request.
	writtenTimes = 3
	// objectPrice is for a Secret or ConfigMap while it is read: the largest there is, as it comes and as it is decoded.
	objectPrice = 3 << 20
)

// hold makes room for so many bytes that the run writes, until the attempt is over, or says why there is none.
func (i *input) hold(size int) error {
	leave, entered := i.written.TryEnter(i.task.Namespace, writtenTimes*int64(size))
	if !entered {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"what the VaultTasks of namespace %s, or all, write at this moment takes all the memory that it may", i.task.Namespace).
			WithRemedy("this passes; smaller data or fewer tasks at a time avoid it")
	}
	*i.held = append(*i.held, leave)
	return nil
}

func sizeOf[V any](values map[string]V) int {
	size := 0
	for key, value := range values {
		size += len(key)
		switch text := any(value).(type) {
		case string:
			size += len(text)
		case v1alpha1.TaskValue:
			size += len(text)
		}
	}
	return size
}

// gather merges all sources but a wrapping token.
func (i *input) gather(ctx context.Context, to *target) (map[string]any, error) {
	spec := &i.task.Spec
	if err := i.hold(sizeOf(spec.Data)); err != nil {
		return nil, err
	}
	data, err := i.literal(ctx)
	if err != nil {
		return nil, err
	}
	for n := range spec.DataFrom {
		values, err := i.fromObject(ctx, &spec.DataFrom[n])
		if err != nil {
			return nil, err
		}
		if sizeOf(data)+sizeOf(values) > maxData {
			return nil, tooLarge(sizeOf(data) + sizeOf(values))
		}
		if err := merge(data, values, "spec.dataFrom"); err != nil {
			return nil, err
		}
	}
	for n := range spec.Generate {
		value, err := generate(ctx, to.session, &spec.Generate[n])
		if err != nil {
			return nil, err
		}
		if err := merge(data, map[string]any{spec.Generate[n].Key: value}, "spec.generate"); err != nil {
			return nil, err
		}
	}
	for _, key := range spec.RemoveKeys {
		if err := merge(data, map[string]any{key: nil}, "spec.removeKeys"); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// volatile tells whether what a task writes may differ between two attempts: it holds references, or comes from other
// objects or chance.
func volatile(task *v1alpha1.VaultTask) bool {
	spec := &task.Spec
	if len(spec.DataFrom)+len(spec.Generate) > 0 || spec.Unwrap != nil {
		return true
	}
	value, err := parseData(task)
	return err == nil && len(value.References()) > 0
}

// literal returns spec.data with its references resolved.
func (i *input) literal(ctx context.Context) (map[string]any, error) {
	value, err := parseData(i.task)
	if err != nil {
		return nil, err
	}
	data, err := i.engine.Evaluate(ctx, i.task.Namespace, value, i.workload(i.task))
	if err != nil {
		return nil, fault.In(err, "spec.data")
	}
	return data, nil
}

// parseData reads spec.data as the value of a Connection.
func parseData(task *v1alpha1.VaultTask) (*expression.Value, error) {
	texts := make(map[string]apiextensionsv1.JSON, len(task.Spec.Data))
	for key, text := range task.Spec.Data {
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
	return value, nil
}

// fromObject returns the keys of a Secret or ConfigMap, literally.
func (i *input) fromObject(ctx context.Context, source *v1alpha1.TaskDataSource) (map[string]any, error) {
	leave, err := i.reading.Enter(ctx, i.task.Namespace, objectPrice)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonRateLimited,
			"the Secrets and ConfigMaps that VaultTasks of namespace %s, or all, read take all the memory that they may", i.task.Namespace).
			WithRemedy("this passes; fewer tasks at a time avoid it")
	}
	defer leave()
	found, shown, err := i.texts(ctx, source)
	if err != nil {
		return nil, err
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
			return nil, fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s has no key %q (spec.dataFrom)", shown, key).
				WithRemedy("add it")
		case !utf8.ValidString(value):
			return nil, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s, key %q, is no UTF-8 text (spec.dataFrom), and Vault keeps text", shown, key).
				WithRemedy("encode it in base64")
		}
		values[source.Prefix+key] = value
	}
	return values, i.hold(sizeOf(values))
}

// texts returns all that a Secret or ConfigMap holds, and how sentences call it.
func (i *input) texts(
	ctx context.Context, source *v1alpha1.TaskDataSource,
) (found map[string]string, shown string, err error) {
	found = map[string]string{}
	switch {
	case source.SecretRef != nil:
		secret := &corev1.Secret{}
		if shown, err = i.getOwn(ctx, i.task, "Secret", source.SecretRef.Name, secret); err != nil {
			return nil, "", err
		}
		for key, value := range secret.Data {
			found[key] = string(value)
		}
	case source.ConfigMapRef != nil:
		configMap := &corev1.ConfigMap{}
		if shown, err = i.getOwn(ctx, i.task, "ConfigMap", source.ConfigMapRef.Name, configMap); err != nil {
			return nil, "", err
		}
		maps.Copy(found, configMap.Data)
		for key, value := range configMap.BinaryData {
			found[key] = string(value)
		}
	}
	return found, shown, nil
}

// getOwn reads an object of the task's namespace from the API server, and returns how sentences call it.
func (r *Reconciler) getOwn(
	ctx context.Context, task *v1alpha1.VaultTask, kind, name string, object client.Object,
) (shown string, err error) {
	key := client.ObjectKey{Namespace: task.Namespace, Name: name}
	shown = kind + " " + key.String()
	err = r.live.Get(ctx, key, object)
	switch {
	case err == nil:
		return shown, nil
	case apierrors.IsNotFound(err):
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s does not exist", shown).WithRemedy("create it")
	case apierrors.IsForbidden(err):
		return "", fault.Waiting(v1alpha1.ReasonInternal, "Sallyport may not get %s", shown).WithRemedy("let its service account get it")
	}
	return "", fault.Transient(v1alpha1.ReasonInternal, "%s cannot be read from the Kubernetes API: %v", shown, err)
}

// merge adds values to data. A key that two sources give is an error: which of them was meant must not depend on an
// order.
func merge(data, values map[string]any, source string) error {
	for key, value := range values {
		if _, exists := data[key]; exists {
			return fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s: the key %q is given by another source too", source, key).
				WithRemedy("leave it out of one of them")
		}
		data[key] = value
	}
	return nil
}

func fits(data map[string]any) error {
	encoded, err := json.Marshal(data)
	switch {
	case err != nil:
		return fault.Terminal(v1alpha1.ReasonInvalidSpec,
			"the data cannot be written as JSON") // the error may quote a value
	case len(encoded) > maxData:
		return tooLarge(len(encoded))
	}
	return nil
}

func tooLarge(size int) error {
	return fault.Terminal(v1alpha1.ReasonTooLarge, "the data is %d bytes as JSON, and Vault stores less than 1 MiB", size).
		WithRemedy("write less, or several secrets")
}

const (
	defaultLength  = 32
	defaultCharset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// generate makes a value by chance, or has Vault make it by a password policy.
func generate(ctx context.Context, session *session.Session, spec *v1alpha1.GeneratedValue) (string, error) {
	if spec.PasswordPolicy != "" {
		return secrets.GeneratePassword(ctx, session, spec.PasswordPolicy)
	}
	charset := spec.Charset
	if charset == "" {
		charset = defaultCharset
	}
	characters := []rune(charset)
	for i, character := range characters {
		switch {
		case !unicode.IsPrint(character):
			return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.generate, key %q: charset holds a character that cannot be printed",
				spec.Key).WithRemedy("leave it out")
		case strings.ContainsRune(string(characters[:i]), character):
			return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.generate, key %q: charset holds %q twice, which would make it likelier than the others",
				spec.Key, character).WithRemedy("write each character once")
		}
	}
	return random(characters, int(ptr.Deref(spec.Length, defaultLength))), nil
}

// random returns characters that are chosen independently and all equally likely.
func random(characters []rune, length int) string {
	text := make([]rune, length)
	number := big.NewInt(int64(len(characters)))
	for i := range text {
		index, _ := rand.Int(rand.Reader, number) // unbiased; reading randomness never fails
		text[i] = characters[index.Int64()]
	}
	return string(text)
}
