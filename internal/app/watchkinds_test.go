package app

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// configInformers hand out informers for VaultConfigs and for Connections whose handlers a test calls.
type configInformers struct {
	informertest.FakeInformers
	handlers, connections []toolscache.ResourceEventHandler
}

func (i *configInformers) GetInformer(
	_ context.Context, object client.Object, _ ...cache.InformerGetOption,
) (cache.Informer, error) {
	switch object.(type) {
	case *v1alpha1.VaultConfig:
		return &configInformer{controllertest.NewFakeInformer(controllertest.Synced), &i.handlers}, nil
	case *v1alpha1.Connection:
		return &configInformer{controllertest.NewFakeInformer(controllertest.Synced), &i.connections}, nil
	}
	return controllertest.NewFakeInformer(controllertest.Synced), nil
}

type configInformer struct {
	*controllertest.FakeInformer
	handlers *[]toolscache.ResourceEventHandler
}

func (i *configInformer) AddEventHandler(
	handler toolscache.ResourceEventHandler,
) (toolscache.ResourceEventHandlerRegistration, error) {
	*i.handlers = append(*i.handlers, handler)
	return i.FakeInformer.AddEventHandler(handler)
}

func TestWhatIsKeptOfAVaultConfigEndsWithItAndItsValuesWithAnEdit(t *testing.T) {
	g := NewWithT(t)
	var sessions, values []types.UID
	forget := forgetter{
		sessions: func(uid types.UID) { sessions = append(sessions, uid) },
		values:   func(uid types.UID) { values = append(values, uid) },
	}
	informers := &configInformers{}
	g.Expect(watchKinds(t.Context(), informers, forget)).To(Succeed())
	g.Expect(informers.handlers).To(HaveLen(1))
	handler := informers.handlers[0]
	config := builder.VaultConfig("shop", "main", func(c *v1alpha1.VaultConfig) { c.UID, c.Generation = "uid", 1 })
	handler.OnAdd(config, true)
	status, edited := config.DeepCopy(), config.DeepCopy()
	status.Status.ObservedGeneration, edited.Generation = 1, 2

	handler.OnUpdate(config, status)
	g.Expect(values).To(BeEmpty(), "what is read is the same")
	handler.OnUpdate(status, edited)
	g.Expect(values).To(Equal([]types.UID{"uid"}))
	g.Expect(sessions).To(BeEmpty(), "each use compares the session with the spec")

	handler.OnDelete(edited)
	g.Expect(values).To(Equal([]types.UID{"uid", "uid"}))
	g.Expect(sessions).To(Equal([]types.UID{"uid"}))
	handler.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "shop/main", Obj: edited})
	g.Expect(values).To(HaveLen(3), "the watch was broken when it went")
	g.Expect(sessions).To(HaveLen(2))
}

func TestWhatIsKeptOfAConnectionEndsWithIt(t *testing.T) {
	g := NewWithT(t)
	var forgotten []types.UID
	informers := &configInformers{}
	g.Expect(watchKinds(t.Context(), informers, forgetter{sessions: func(uid types.UID) { forgotten = append(forgotten, uid) }})).To(Succeed())
	g.Expect(informers.connections).To(HaveLen(1))
	connection := builder.Connection("shop", "vault", nil, func(c *v1alpha1.Connection) { c.UID = "uid" })
	informers.connections[0].OnAdd(connection, true)
	informers.connections[0].OnUpdate(connection, connection)
	g.Expect(forgotten).To(BeEmpty())
	informers.connections[0].OnDelete(connection)
	informers.connections[0].OnDelete(toolscache.DeletedFinalStateUnknown{Key: "shop/vault", Obj: connection})
	g.Expect(forgotten).To(Equal([]types.UID{"uid", "uid"}))
}

func TestAPanicInWhatForgetsEndsNoInformer(t *testing.T) {
	g := NewWithT(t)
	informers := &configInformers{}
	boom := func(types.UID) { panic("boom") }
	g.Expect(watchKinds(t.Context(), informers, forgetter{boom, boom})).To(Succeed())
	config := builder.VaultConfig("shop", "main")
	edited := config.DeepCopy()
	edited.Generation++
	g.Expect(func() { informers.handlers[0].OnUpdate(config, edited); informers.handlers[0].OnDelete(config) }).NotTo(Panic())
	g.Expect(func() { informers.connections[0].OnDelete(builder.Connection("shop", "x", nil)) }).NotTo(Panic())
}
