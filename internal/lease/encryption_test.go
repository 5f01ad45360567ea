package lease

import (
	"context"
	"errors"
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

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
)

// The fake client stands only where outages and races of the API server are needed at one exact moment.
func keyStore() (*fake.Clientset, corev1client.SecretInterface) {
	clients := fake.NewClientset()
	return clients, clients.CoreV1().Secrets("sallyport-system")
}

func volumeLeases() *VolumeLeases {
	l := &VolumeLeases{Volume: Volume{ID: "csi-1", PodUID: "uid", Node: "node"}}
	l.Update([]string{"s"}, []DynamicSecret{dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{})}, noon)
	return l
}

func TestLeasesAreEncryptedWithAKeyOfAllReplicas(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	one, two := encryption{secrets: secrets}, encryption{secrets: secrets}
	encrypted, err := one.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	for _, part := range []string{"database", "creds", "csi-1", "uid", "node"} {
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
			s := encryption{secrets: secrets}
			encrypted[i], _ = s.encrypt(context.Background(), volumeLeases())
		})
	}
	group.Wait()
	last := encryption{secrets: secrets}
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
	veteran := encryption{secrets: secrets}
	lost, err := veteran.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(secrets.Delete(t.Context(), KeySecretName, metav1.DeleteOptions{})).To(Succeed())

	newcomer := encryption{secrets: secrets}
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
	s := encryption{secrets: secrets}
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
