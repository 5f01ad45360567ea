package lease

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=secrets,resourceNames=sallyport-lease-key,verbs=get

const (
	// KeySecretName is the Secret, in Sallyport's own namespace, with the key that encrypts the leases of volumes. The
	// first replica that needs it creates it. Deleting it leaves all leases to expire.
	KeySecretName = "sallyport-lease-key"
	keyField      = "key"
	keyBytes      = 32 // AES-256
)

// additionalData is authenticated with every encrypted state of a volume.
var additionalData = []byte("sallyport.dev/lease/v1")

// errUndecryptable: it was encrypted with another key, or was never encrypted at all.
var errUndecryptable = errors.New("not encrypted with this key")

// encryption is the AES-256-GCM of the leases that nodes keep, with a key that all replicas share.
type encryption struct {
	secrets corev1client.SecretInterface

	mu   sync.Mutex
	aead cipher.AEAD
}

// encrypt returns the leases as only replicas can read them.
func (e *encryption) encrypt(ctx context.Context, v *VolumeLeases) ([]byte, error) {
	aead, err := e.key(ctx, false)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the leases cannot be encoded")
	}
	return aead.Seal(nil, nil, plain, additionalData), nil //nolint:gosec // the AEAD makes the nonce, and takes none
}

// decrypt returns the leases; errUndecryptable if the current key does not fit.
func (e *encryption) decrypt(ctx context.Context, encrypted []byte) (*VolumeLeases, error) {
	for _, again := range []bool{false, true} {
		aead, err := e.key(ctx, again)
		if err != nil {
			return nil, err
		}
		plain, err := aead.Open(nil, nil, encrypted, additionalData)
		if err != nil {
			continue
		}
		v := &VolumeLeases{}
		if json.Unmarshal(plain, v) != nil { // a newer version's
			return nil, errUndecryptable
		}
		return v, nil
	}
	return nil, errUndecryptable
}

// key returns the key, which is created where there is none yet, and read from the Secret once more if again is true.
func (e *encryption) key(ctx context.Context, again bool) (cipher.AEAD, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.aead != nil && !again {
		return e.aead, nil
	}
	secret, err := e.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if secret, err = e.create(ctx); apierrors.IsAlreadyExists(err) { // another replica was faster
			secret, err = e.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the Secret %s, whose key seals leases, cannot be read from or created in the Kubernetes API (%s)",
			KeySecretName, apierrors.ReasonForError(err))
	}
	if len(secret.Data[keyField]) != keyBytes {
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the Secret %s, whose key seals leases, has no field %q of %d bytes", KeySecretName, keyField, keyBytes).
			WithRemedy("delete it, and another is made")
	}
	block, err := aes.NewCipher(secret.Data[keyField])
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the key in Secret %s cannot be used", KeySecretName)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the key in Secret %s cannot be used", KeySecretName)
	}
	e.aead = aead
	return aead, nil
}

func (e *encryption) create(ctx context.Context) (*corev1.Secret, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return e.secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: KeySecretName, Labels: map[string]string{"app.kubernetes.io/name": "sallyport"}},
		Immutable:  new(true),
		Data:       map[string][]byte{keyField: key},
	}, metav1.CreateOptions{})
}
