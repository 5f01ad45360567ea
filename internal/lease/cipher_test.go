package lease

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func cipherOf(secrets corev1client.SecretInterface, purpose string) *Cipher {
	return NewManager(Options{Secrets: secrets, Clock: testingclock.NewFakePassiveClock(noon)}).Cipher(purpose)
}

func TestACipherReadsWhatAnotherReplicaWrote(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	one, two := cipherOf(secrets, "grant/v1"), cipherOf(secrets, "grant/v1")
	plain, bound := []byte("plain text"), []byte("node-a")
	encrypted, err := one.Encrypt(t.Context(), "csi-1", plain, bound)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(encrypted)).NotTo(ContainSubstring("plain"))
	read, ok := two.Decrypt(t.Context(), "csi-1", encrypted, bound)
	g.Expect(ok).To(BeTrue())
	g.Expect(read).To(Equal(plain))

	for name, decrypt := range map[string]func() ([]byte, bool){
		"another subject": func() ([]byte, bool) { return two.Decrypt(t.Context(), "csi-2", encrypted, bound) },
		"another binding": func() ([]byte, bool) { return two.Decrypt(t.Context(), "csi-1", encrypted, []byte("node-b")) },
		"another purpose": func() ([]byte, bool) {
			return cipherOf(secrets, "other/v1").Decrypt(t.Context(), "csi-1", encrypted, bound)
		},
		"nothing": func() ([]byte, bool) { return two.Decrypt(t.Context(), "csi-1", nil, bound) },
		"no key": func() ([]byte, bool) {
			return two.Decrypt(t.Context(), "csi-1", []byte{cipherVersion, 0, 9, 1, 2, 3}, bound)
		},
	} {
		_, ok = decrypt()
		g.Expect(ok).To(BeFalse(), name)
	}
	// The leases of a volume are of another purpose, whatever its ID is.
	leases, err := newEncryption(secrets).encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	_, ok = two.Decrypt(t.Context(), volumeLeases().Volume.key(), leases, nil)
	g.Expect(ok).To(BeFalse())
	_, err = newEncryption(secrets).decrypt(t.Context(), encrypted)
	g.Expect(err).To(MatchError(errUndecryptable))
}

func TestACipherFollowsTheRotationOfKeys(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	c := cipherOf(secrets, "grant/v1")
	encrypted, err := c.Encrypt(t.Context(), "csi-1", []byte("plain"), nil)
	g.Expect(err).NotTo(HaveOccurred())
	rotate := func(change func(map[string][]byte)) {
		t.Helper()
		secret, failure := secrets.Get(t.Context(), KeySecretName, metav1.GetOptions{})
		g.Expect(failure).NotTo(HaveOccurred())
		change(secret.Data)
		_, failure = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
		g.Expect(failure).NotTo(HaveOccurred())
		c.keys.refresh(t.Context()) // what every replica does once a minute
	}
	rotate(func(data map[string][]byte) { data["key-2"] = make([]byte, keyBytes) })
	_, ok := c.Decrypt(t.Context(), "csi-1", encrypted, nil)
	g.Expect(ok).To(BeTrue(), "the former key is there")
	after, err := c.Encrypt(t.Context(), "csi-1", []byte("plain"), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after[:3]).To(Equal([]byte{cipherVersion, 0, 2}), "the newest encrypts")
	rotate(func(data map[string][]byte) { delete(data, keyField) })
	_, ok = c.Decrypt(t.Context(), "csi-1", encrypted, nil)
	g.Expect(ok).To(BeFalse(), "its key is gone")
	_, ok = c.Decrypt(t.Context(), "csi-1", after, nil)
	g.Expect(ok).To(BeTrue())
}

func TestACipherAsksForKeysAgainAfterAPause(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	asked, down := 0, true
	clients.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		if down {
			return true, nil, errors.New("the API server is down")
		}
		return false, nil, nil
	})
	clk := testingclock.NewFakePassiveClock(noon)
	c := NewManager(Options{Secrets: secrets, Clock: clk}).Cipher("grant/v1")
	for range 10 {
		_, err := c.Encrypt(t.Context(), "csi-1", nil, nil)
		g.Expect(err).To(HaveOccurred())
		_, ok := c.Decrypt(t.Context(), "csi-1", []byte{cipherVersion, 0, 1}, nil)
		g.Expect(ok).To(BeFalse())
	}
	g.Expect(asked).To(Equal(1))
	down = false
	clk.SetTime(noon.Add(keysPause + time.Second))
	_, err := c.Encrypt(t.Context(), "csi-1", nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestACipherWaitsOnceAndNotLongForKeysThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		clients, secrets := keyStore()
		var asked atomic.Int32
		clients.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
			asked.Add(1)
			time.Sleep(time.Hour) // an API server that hangs
			return true, nil, errors.New("no answer")
		})
		c := NewManager(Options{Secrets: secrets, Clock: clock.RealClock{}}).Cipher("grant/v1")
		began := time.Now()
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				_, ok := c.Decrypt(t.Context(), "csi-1", []byte{cipherVersion, 0, 1}, nil)
				g.Expect(ok).To(BeFalse())
				_, err := c.Encrypt(t.Context(), "csi-1", nil, nil)
				g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue(), "%v", err)
			})
		}
		callers.Wait()
		g.Expect(time.Since(began)).To(BeNumerically("<=", keysTimeout))
		g.Expect(asked.Load()).To(BeEquivalentTo(1))
		time.Sleep(time.Hour) // until it answers
	})
}
