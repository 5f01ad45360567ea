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

// configInformers hand out an informer for VaultConfigs whose handlers a test calls.
type configInformers struct {
	informertest.FakeInformers
	handlers []toolscache.ResourceEventHandler
}

func (i *configInformers) GetInformer(
	_ context.Context, object client.Object, _ ...cache.InformerGetOption,
) (cache.Informer, error) {
	if _, is := object.(*v1alpha1.VaultConfig); is {
		return &configInformer{controllertest.NewFakeInformer(controllertest.Synced), i}, nil
	}
	return controllertest.NewFakeInformer(controllertest.Synced), nil
}

type configInformer struct {
	*controllertest.FakeInformer
	of *configInformers
}

func (i *configInformer) AddEventHandler(
	handler toolscache.ResourceEventHandler,
) (toolscache.ResourceEventHandlerRegistration, error) {
	i.of.handlers = append(i.of.handlers, handler)
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

func TestAPanicInWhatForgetsEndsNoInformer(t *testing.T) {
	g := NewWithT(t)
	informers := &configInformers{}
	boom := func(types.UID) { panic("boom") }
	g.Expect(watchKinds(t.Context(), informers, forgetter{boom, boom})).To(Succeed())
	config := builder.VaultConfig("shop", "main")
	edited := config.DeepCopy()
	edited.Generation++
	g.Expect(func() { informers.handlers[0].OnUpdate(config, edited); informers.handlers[0].OnDelete(config) }).NotTo(Panic())
}
