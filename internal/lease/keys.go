package lease

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=sallyport-system,resources=secrets,resourceNames=sallyport-lease-key,verbs=get

const (
	// KeySecretName is the Secret, in Sallyport's own namespace, with the keys that encrypt the leases of volumes:
	// "key", "key-2", "key-3" and so on. The one with the highest number encrypts, all decrypt. The first replica that
	// needs one creates it. Deleting it leaves all leases to expire, and ends all that a Cipher encrypted.
	KeySecretName = "sallyport-lease-key"
	keyField      = "key"
	keyBytes      = 32 // AES-256
	// rereadPause is how soon the Secret is read again because of a state that no key opens. A node can send such
	// states as fast as it likes.
	rereadPause = time.Second
)

// leaseKeys holds what the Secret has. A key that was added is known after a minute at the latest, or as soon as a
// state comes that another replica encrypted with it; so is one that was taken away.
type leaseKeys struct {
	secrets corev1client.SecretInterface
	clock   clock.PassiveClock

	// keys is nil until somebody needs one. Whoever has them waits for no read.
	keys atomic.Pointer[keySet]

	mu sync.Mutex // of reads
	// reread is when the Secret was last read again.
	reread time.Time
}

// get returns the keys, of which one is created where there is none yet.
func (k *leaseKeys) get(ctx context.Context) (keySet, error) {
	if keys := k.keys.Load(); keys != nil {
		return *keys, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys := k.keys.Load(); keys != nil {
		return *keys, nil
	}
	return k.read(ctx)
}

// readAgain returns the keys that there are now. That is not asked more often than rereadPause allows: an error that
// may go away says so, for the state must not be taken for lost.
func (k *leaseKeys) readAgain(ctx context.Context) (keySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	if since := now.Sub(k.reread); since >= 0 && since < rereadPause {
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the leases are sealed with none of the keys in Secret %s, which is read again in a second",
			KeySecretName)
	}
	k.reread = now
	return k.read(ctx)
}

// refresh brings the keys up to date, if that is possible.
func (k *leaseKeys) refresh(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys.Load() != nil { // else nobody needed one
		_, _ = k.read(ctx)
	}
}

// read reads the Secret. The caller holds the lock.
func (k *leaseKeys) read(ctx context.Context) (keySet, error) {
	secret, err := k.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if secret, err = k.create(ctx); apierrors.IsAlreadyExists(err) { // another replica was faster
			secret, err = k.secrets.Get(ctx, KeySecretName, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the Secret %s, whose key seals leases, cannot be read from or created in the Kubernetes API (%s)",
			KeySecretName, apierrors.ReasonForError(err))
	}
	keys := keySet{}
	for field, key := range secret.Data {
		if number := keyNumber(field); number > 0 && len(key) == keyBytes {
			keys[number] = key
		}
	}
	if len(keys) == 0 {
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the Secret %s, whose keys seal leases, has no field %q, or %q and so on, of %d bytes",
			KeySecretName, keyField, keyField+"-2", keyBytes).
			WithRemedy("delete it, and another is made")
	}
	k.keys.Store(&keys)
	return keys, nil
}

// keyNumber is the number of the key in a field of the Secret; zero if it is none.
func keyNumber(field string) uint16 {
	if field == keyField {
		return 1
	}
	text, found := strings.CutPrefix(field, keyField+"-")
	number, err := strconv.ParseUint(text, 10, 16)
	if !found || err != nil || number < 2 {
		return 0
	}
	return uint16(number)
}

func (k *leaseKeys) create(ctx context.Context) (*corev1.Secret, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return k.secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: KeySecretName, Labels: map[string]string{"app.kubernetes.io/name": "sallyport"}},
		Data:       map[string][]byte{keyField: key},
	}, metav1.CreateOptions{})
}
