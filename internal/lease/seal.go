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
	// KeySecretName is the Secret, in Sallyport's own namespace, with the key that seals ledgers. The first replica that needs it makes it.
	// Whoever deletes it leaves all leases to their own end.
	KeySecretName = "sallyport-lease-key"
	keyField      = "key"
	keyBytes      = 32 // AES-256
)

// sealedFor is bound into every sealed ledger.
var sealedFor = []byte("sallyport.dev/lease/v1")

// errNotSealed: it was sealed with another key, or is no ledger at all.
var errNotSealed = errors.New("not sealed with this key")

// sealer seals ledgers, with a key that all replicas share.
type sealer struct {
	secrets corev1client.SecretInterface

	mu   sync.Mutex
	aead cipher.AEAD
}

// seal returns the ledger as only replicas can read it.
func (s *sealer) seal(ctx context.Context, l *Ledger) ([]byte, error) {
	aead, err := s.key(ctx, false)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(l)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the leases cannot be encoded")
	}
	return aead.Seal(nil, nil, plain, sealedFor), nil //nolint:gosec // the AEAD makes the nonce, at random, and takes none
}

// open returns the ledger; errNotSealed if the key of now does not fit.
func (s *sealer) open(ctx context.Context, sealed []byte) (*Ledger, error) {
	for _, again := range []bool{false, true} {
		aead, err := s.key(ctx, again)
		if err != nil {
			return nil, err
		}
		plain, err := aead.Open(nil, nil, sealed, sealedFor)
		if err != nil {
			continue
		}
		l := &Ledger{}
		if json.Unmarshal(plain, l) != nil { // a newer version's
			return nil, errNotSealed
		}
		return l, nil
	}
	return nil, errNotSealed
}

// key returns the key, which is made where there is none yet, and read again if that is asked for.
func (s *sealer) key(ctx context.Context, again bool) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead != nil && !again {
		return s.aead, nil
	}
	secret, err := s.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if secret, err = s.create(ctx); apierrors.IsAlreadyExists(err) { // another replica was faster
			secret, err = s.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the Secret %s, whose key seals leases, cannot be read from or created in the Kubernetes API (%s)",
			KeySecretName, apierrors.ReasonForError(err))
	}
	if len(secret.Data[keyField]) != keyBytes {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the Secret %s, whose key seals leases, has no field %q of %d bytes; delete it, and another is made",
			KeySecretName, keyField, keyBytes)
	}
	block, err := aes.NewCipher(secret.Data[keyField])
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the key in Secret %s cannot be used", KeySecretName)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the key in Secret %s cannot be used", KeySecretName)
	}
	s.aead = aead
	return aead, nil
}

func (s *sealer) create(ctx context.Context) (*corev1.Secret, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return s.secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: KeySecretName, Labels: map[string]string{"app.kubernetes.io/name": "sallyport"}},
		Immutable:  new(true),
		Data:       map[string][]byte{keyField: key},
	}, metav1.CreateOptions{})
}
