package vaulttask

import (
	"bytes"
	"context"
	"encoding/json"

	"filippo.io/age"
	"filippo.io/age/armor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// maxSealed bounds a sealed result before it is encrypted, so that the object stays well below what the API server
// stores.
const maxSealed = 512 << 10

// recipientOf returns the age recipient that a result is to be sealed to, nil if there is none.
func recipientOf(request *v1alpha1.TaskResultRequest) (*age.X25519Recipient, error) {
	if request == nil || request.SealTo == "" {
		return nil, nil
	}
	recipient, err := age.ParseX25519Recipient(request.SealTo)
	if err != nil {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec,
			"spec.result.sealTo: this is no age recipient, its checksum does not fit").
			WithRemedy("copy the public key anew, as age-keygen prints it")
	}
	return recipient, nil
}

// exportResult puts the values of an outcome where the task's author asks for them. After an effect a failure to do so
// does not undo it, so that it is told in the message only; what was merely read is read again.
func (a *attempt) exportResult(ctx context.Context, to *target, recipient *age.X25519Recipient, out *outcome) error {
	values := out.values
	out.values = nil // what nobody asked for is forgotten here
	if a.task.Spec.Result == nil || values == nil {
		return nil
	}
	leave, err := a.roomFor(ctx, a.task.Namespace, values, a.task.Spec.Operation.HasEffect())
	switch {
	case err != nil:
	case recipient != nil:
		out.result.Sealed, err = seal(recipient, values)
	case a.task.Spec.Result.Wrap != nil:
		out.result.Wrapped, err = a.wrap(ctx, to, values)
	}
	leave()
	if err == nil && out.leased && to.own {
		to.session.LeaveToken() // else they were dead when somebody reads them
	}
	if err != nil && a.task.Spec.Operation.HasEffect() {
		out.message += ", but its values cannot be handed out: " + fault.From(err).Message()
		return nil
	}
	return err
}

// smallResult needs no room of its own, in bytes of the heap: what all workers hand out of that size at one moment is a
// few MiB. So nobody's password waits for the memory of others.
const smallResult = 16 << 10

// roomFor makes room for values that are handed out: as values, as JSON, and as what becomes of that. What an effect
// answered cannot be had again, so it is waited for.
func (r *Reconciler) roomFor(
	ctx context.Context, namespace string, values map[string]any, effect bool,
) (leave func(), err error) {
	size := heap.Of(values)
	if size <= smallResult {
		return func() {}, nil
	}
	weight := size + 2*min(size, maxSealed)
	if weight > heap.TasksShare {
		return func() {}, fault.Terminal(v1alpha1.ReasonTooLarge,
			"the values take %d KiB of memory, and what is handed out of them at most %d", weight>>10, heap.TasksShare>>10)
	}
	entered := true
	if effect {
		leave, err = r.written.Enter(ctx, namespace, weight)
	} else {
		leave, entered = r.written.TryEnter(namespace, weight)
	}
	if err != nil || !entered {
		return func() {}, fault.Transient(v1alpha1.ReasonRateLimited,
			"what the VaultTasks of namespace %s, or all, write and hand out at this moment takes all the memory that it may", namespace).
			WithRemedy("this passes; smaller results or fewer tasks at a time avoid it")
	}
	return leave, nil
}

// seal encrypts values as one JSON object.
func seal(recipient *age.X25519Recipient, values map[string]any) (string, error) {
	plain, err := json.Marshal(values)
	if err != nil {
		return "", fault.Terminal(v1alpha1.ReasonInternal, "the values cannot be written as JSON") // the error may quote one
	}
	if len(plain) > maxSealed {
		return "", fault.Terminal(v1alpha1.ReasonTooLarge, "the values are %d bytes as JSON, and a sealed result holds %d KiB", len(plain), maxSealed>>10)
	}
	var sealed bytes.Buffer
	if err := encrypt(&sealed, recipient, plain); err != nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "the values cannot be sealed")
	}
	return sealed.String(), nil
}

func encrypt(to *bytes.Buffer, recipient *age.X25519Recipient, plain []byte) error {
	armored := armor.NewWriter(to)
	writer, err := age.Encrypt(armored, recipient)
	if err != nil {
		return err
	}
	if _, err := writer.Write(plain); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return armored.Close()
}

func (a *attempt) wrap(ctx context.Context, to *target, values map[string]any) (*v1alpha1.WrappedResult, error) {
	wrapped, err := secrets.Wrap(ctx, to.session, values, a.task.Spec.Result.Wrap.TTL.Duration)
	if err != nil {
		return nil, err
	}
	return &v1alpha1.WrappedResult{Token: wrapped.Reveal(), ExpireTime: status.Time(a.clock.Now().Add(wrapped.TTL))},
		nil
}
