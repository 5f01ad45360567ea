package claims

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var task = types.NamespacedName{Namespace: "shop", Name: "rotate"}

func TestAClaimOfAnotherProcessMayHaveReachedVault(t *testing.T) {
	g := NewWithT(t)
	store := NewStore[string]()
	g.Expect(store.Get(task, nil)).To(BeNil())
	g.Expect(store.Get(task, nil).Called()).To(BeFalse(), "no claim, no call")
	foreign := store.Get(task, &v1alpha1.TaskClaim{ID: "foreign"})
	g.Expect([]any{foreign.Called(), foreign.IsLocal()}).To(Equal([]any{true, false}))
}

func TestAStateIsKeptUntilItsClaimIsDropped(t *testing.T) {
	g := NewWithT(t)
	store, first, second := NewStore[string](), &v1alpha1.TaskClaim{ID: "1"}, &v1alpha1.TaskClaim{ID: "2"}
	state := store.New(task)
	g.Expect([]any{state.Called(), state.IsLocal()}).To(Equal([]any{false, true}))
	store.Put(first, state)
	store.Put(second, state)
	store.Drop(first)
	g.Expect(store.Get(task, first)).NotTo(BeIdenticalTo(state))
	g.Expect(store.Get(task, second)).To(BeIdenticalTo(state))

	g.Expect(store.Outcome(second)).To(BeNil())
	done := "done"
	state.Finish(&done)
	g.Expect(store.Outcome(second)).To(HaveValue(Equal("done")))
	store.Forget(types.NamespacedName{Namespace: "shop", Name: "other"})
	g.Expect(store.Outcome(second)).NotTo(BeNil())
	store.Forget(task)
	g.Expect(store.Outcome(second)).To(BeNil())
}

func TestWhatWasSentIsKnownAgain(t *testing.T) {
	g := NewWithT(t)
	store := NewStore[string]()
	state := store.New(task)
	g.Expect(state.Sent(map[string]any{"a": "b"})).To(BeFalse())
	state.Calling(map[string]any{"a": "b", "n": int64(1)})
	g.Expect(state.Called()).To(BeTrue())
	g.Expect(state.Sent(map[string]any{"n": 1.0, "a": "b"})).To(BeTrue(), "as Vault gives it back")
	g.Expect(state.Sent(map[string]any{"a": "c", "n": 1})).To(BeFalse())
	state.NotCalled()
	g.Expect(state.Called()).To(BeFalse())
}

func TestAStateShowsNothing(t *testing.T) {
	state := NewStore[string]().New(task)
	state.KeepUnwrapped(map[string]any{"password": "tiger"})
	NewWithT(t).Expect(fmt.Sprintf("%v %+v %#v %s", state, state, state, state)).NotTo(ContainSubstring("tiger"))
	NewWithT(t).Expect(state.Unwrapped()).To(HaveKeyWithValue("password", "tiger"))
}

func TestSecretsAreComparedAsVaultKeepsThem(t *testing.T) {
	g := NewWithT(t)
	g.Expect(SameData(map[string]any{"a": int64(1), "b": []any{"x"}}, map[string]any{"b": []any{"x"}, "a": 1.0})).
		To(BeTrue())
	g.Expect(SameData(map[string]any{"a": "1"}, map[string]any{"a": 1})).To(BeFalse())
}
