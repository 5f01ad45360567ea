package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
)

// The fake client stands only where outages and races of the API server are needed at one exact moment.
func keyStore() (*fake.Clientset, corev1client.SecretInterface) {
	clients := fake.NewClientset()
	return clients, clients.CoreV1().Secrets("sallyport-system")
}

// newEncryption is that of a replica which has not read the keys yet.
func newEncryption(secrets corev1client.SecretInterface) *encryption {
	return &encryption{keys: &leaseKeys{secrets: secrets, clock: testingclock.NewFakePassiveClock(noon)}}
}

func volumeLeases() *VolumeLeases {
	l := &VolumeLeases{Volume: Volume{ID: "csi-1", PodUID: "uid", Node: "node"}}
	l.Update([]string{"s"}, []DynamicSecret{dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{})}, noon)
	return l
}

func TestLeasesAreEncryptedWithAKeyOfAllReplicas(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	one, two := newEncryption(secrets), newEncryption(secrets)
	encrypted, err := one.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	for _, part := range []string{"database", "creds", "node"} {
		g.Expect(string(encrypted)).NotTo(ContainSubstring(part))
	}
	decrypted, err := two.decrypt(t.Context(), encrypted)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decrypted.Leases).To(Equal(volumeLeases().Leases))
	g.Expect(decrypted.Volume).To(Equal(volumeLeases().Volume))
	again, err := one.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).NotTo(Equal(encrypted), "equal leases are not recognized")

	refused := func(forged []byte) {
		two.keys.reread = time.Time{}
		_, err := two.decrypt(t.Context(), forged)
		g.Expect(err).To(MatchError(errUndecryptable))
	}
	refused(nil)
	refused([]byte("short"))
	for i := range encrypted {
		forged := append([]byte{}, encrypted...)
		forged[i] ^= 1
		refused(forged)
	}
}

func TestReplicasAgreeOnOneKey(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	var group sync.WaitGroup
	encrypted := make([][]byte, 8)
	for i := range encrypted {
		group.Go(func() {
			s := newEncryption(secrets)
			encrypted[i], _ = s.encrypt(context.Background(), volumeLeases())
		})
	}
	group.Wait()
	last := newEncryption(secrets)
	for _, s := range encrypted {
		_, err := last.decrypt(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
	}
	before := len(clients.Actions())
	for _, s := range encrypted {
		_, err := last.decrypt(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(clients.Actions()).To(HaveLen(before), "the key is read once")
}

func TestAKeyThatWasReplacedIsReadAgain(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	veteran := newEncryption(secrets)
	lost, err := veteran.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(secrets.Delete(t.Context(), KeySecretName, metav1.DeleteOptions{})).To(Succeed())

	newcomer := newEncryption(secrets)
	_, err = newcomer.decrypt(t.Context(), lost)
	g.Expect(err).To(MatchError(errUndecryptable))
	encrypted, err := newcomer.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = veteran.decrypt(t.Context(), encrypted)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestAKeyThatCannotBeHadIsAFault(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: KeySecretName}, Data: map[string][]byte{"key": []byte("short")}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	s := newEncryption(secrets)
	_, err = s.encrypt(t.Context(), volumeLeases())
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("delete it, and another is made")))

	clients.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is down: canary")
	})
	_, err = s.decrypt(t.Context(), []byte("x"))
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
}

func TestTheKeyIsRotated(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	one, two := newEncryption(secrets), newEncryption(secrets)
	before, err := one.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = two.decrypt(t.Context(), before)
	g.Expect(err).NotTo(HaveOccurred())

	secret, err := secrets.Get(t.Context(), KeySecretName, metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	secret.Data["key-2"] = bytes.Repeat([]byte{2}, keyBytes)
	secret.Data["comment"], secret.Data["key-3"] = []byte("not a key"), []byte("short")
	_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	one.keys.refresh(t.Context())
	after, err := one.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after[:3]).To(Equal([]byte{formatVersion, 0, 2}), "the newest encrypts")
	for _, replica := range []*encryption{one, two} { // two has not read the new key yet
		for _, state := range [][]byte{before, after} {
			_, err = replica.decrypt(t.Context(), state)
			g.Expect(err).NotTo(HaveOccurred())
		}
	}

	delete(secret.Data, "key")
	_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	two.keys.refresh(t.Context())
	_, err = two.decrypt(t.Context(), after)
	g.Expect(err).NotTo(HaveOccurred())
	two.keys.reread = time.Time{}
	_, err = two.decrypt(t.Context(), before)
	g.Expect(err).To(MatchError(errUndecryptable), "its key is gone")
}

func TestStatesOfTheFirstVersionsOpen(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	e := newEncryption(secrets)
	keys, err := e.keys.get(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := json.Marshal(volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	aead, err := newAEAD(keys[1])
	g.Expect(err).NotTo(HaveOccurred())
	firstBytes := map[byte]bool{}
	for range 5000 { // some begin as states of today do
		former := aead.Seal(nil, nil, plain, []byte("sallyport.dev/lease/v1"))
		firstBytes[former[0]] = true
		v, err := e.decrypt(t.Context(), former)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(v.Leases).To(HaveLen(1))
	}
	g.Expect(firstBytes).To(HaveKey(byte(formatVersion)))
}

func TestAStateIsForOneVolume(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	e := newEncryption(secrets)
	own, err := e.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	moved := bytes.Replace(own, []byte("csi-1"), []byte("csi-2"), 1)
	g.Expect(moved).NotTo(Equal(own))
	_, err = e.decrypt(t.Context(), moved)
	g.Expect(err).To(MatchError(errUndecryptable))
	keys, err := e.keys.get(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	one, err := keys.forVolume(1, "uid/csi-1")
	g.Expect(err).NotTo(HaveOccurred())
	other, err := keys.forVolume(1, "uid/csi-2")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = other.Open(nil, nil, one.Seal(nil, nil, []byte("x"), nil), nil)
	g.Expect(err).To(HaveOccurred(), "each volume has a key of its own")
}

func TestStatesThatNoKeyOpensDoNotFloodTheAPIServer(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	clk := testingclock.NewFakePassiveClock(noon)
	e := &encryption{keys: &leaseKeys{secrets: secrets, clock: clk}}
	_, err := e.decrypt(t.Context(), []byte("forged"))
	g.Expect(err).To(MatchError(errUndecryptable))
	asked := len(clients.Actions())
	for range 100 {
		_, err = e.decrypt(t.Context(), []byte("forged"))
		g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient), "a state is not taken for lost without a look")
	}
	g.Expect(clients.Actions()).To(HaveLen(asked))
	clk.SetTime(noon.Add(rereadPause))
	_, err = e.decrypt(t.Context(), []byte("forged"))
	g.Expect(err).To(MatchError(errUndecryptable))
	g.Expect(fmt.Sprintf("%v %+v %#v", *e.keys.keys.Load(), *e.keys.keys.Load(), *e.keys.keys.Load())).To(Equal("1 lease keys 1 lease keys 1 lease keys"))
}
