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

func ledger() *Ledger {
	l := &Ledger{Volume: Volume{ID: "csi-1", PodUID: "uid", Node: "node"}}
	l.Update([]string{"s"}, []Made{made("a", "s", time.Hour, true, session.TokenTerm{})}, noon)
	return l
}

func TestLedgersAreSealedWithAKeyOfAllReplicas(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	one, two := sealer{secrets: secrets}, sealer{secrets: secrets}
	sealed, err := one.seal(t.Context(), ledger())
	g.Expect(err).NotTo(HaveOccurred())
	for _, part := range []string{"database", "creds", "csi-1", "uid", "node"} {
		g.Expect(string(sealed)).NotTo(ContainSubstring(part))
	}
	opened, err := two.open(t.Context(), sealed)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(opened.Holdings).To(Equal(ledger().Holdings))
	g.Expect(opened.Volume).To(Equal(ledger().Volume))
	again, err := one.seal(t.Context(), ledger())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).NotTo(Equal(sealed), "equal ledgers are not recognized")

	refused := func(forged []byte) {
		_, err := two.open(t.Context(), forged)
		g.Expect(err).To(MatchError(errNotSealed))
	}
	refused(nil)
	refused([]byte("short"))
	for i := range sealed {
		forged := append([]byte{}, sealed...)
		forged[i] ^= 1
		refused(forged)
	}
}

func TestReplicasAgreeOnOneKey(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	var group sync.WaitGroup
	sealed := make([][]byte, 8)
	for i := range sealed {
		group.Go(func() {
			s := sealer{secrets: secrets}
			sealed[i], _ = s.seal(context.Background(), ledger())
		})
	}
	group.Wait()
	last := sealer{secrets: secrets}
	for _, s := range sealed {
		_, err := last.open(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
	}
	before := len(clients.Actions())
	for _, s := range sealed {
		_, err := last.open(t.Context(), s)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(clients.Actions()).To(HaveLen(before), "the key is read once")
}

func TestAKeyThatWasReplacedIsReadAgain(t *testing.T) {
	g := NewWithT(t)
	_, secrets := keyStore()
	veteran := sealer{secrets: secrets}
	lost, err := veteran.seal(t.Context(), ledger())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(secrets.Delete(t.Context(), KeySecretName, metav1.DeleteOptions{})).To(Succeed())

	newcomer := sealer{secrets: secrets}
	_, err = newcomer.open(t.Context(), lost)
	g.Expect(err).To(MatchError(errNotSealed))
	sealed, err := newcomer.seal(t.Context(), ledger())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = veteran.open(t.Context(), sealed)
	g.Expect(err).NotTo(HaveOccurred())
}

func TestAKeyThatCannotBeHadIsAFault(t *testing.T) {
	g := NewWithT(t)
	clients, secrets := keyStore()
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: KeySecretName}, Data: map[string][]byte{"key": []byte("short")}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	s := sealer{secrets: secrets}
	_, err = s.seal(t.Context(), ledger())
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("delete it, and another is made")))

	clients.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is down: canary")
	})
	_, err = s.open(t.Context(), []byte("x"))
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
}
