package vaulttask

import (
	"context"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// genericRead reads or lists any path of Vault.
func (a *attempt) genericRead(ctx context.Context, to *target) (*outcome, error) {
	a.called = true
	if a.task.Spec.Operation == v1alpha1.OperationGenericList {
		names, err := secrets.ListPath(ctx, to.session, to.path)
		if err != nil {
			return nil, err
		}
		return &outcome{result: secretResult(names),
			message: fmt.Sprintf("listed %d names in %s", len(names.Data), names.Path)}, nil
	}
	secret, err := secrets.ReadPath(ctx, to.session, to.path)
	if err != nil {
		return nil, err
	}
	return &outcome{result: secretResult(secret), message: "read " + secret.Path, values: secret.Data,
		leased: secret.Leased}, nil
}

// genericWrite writes to, or deletes, any path of Vault. What that does nobody here knows, so that it is sent once, and
// never again unless it is certain that Vault did not get it.
func (a *attempt) genericWrite(ctx context.Context, to *target) (*outcome, error) {
	data, err := a.input(ctx, to)
	if err != nil {
		return nil, err
	}
	// A sealed Vault, or none, would leave the outcome open that is certain before.
	if err := a.healthy(ctx, to); err != nil {
		return nil, err
	}
	a.called = true
	if err := a.claim(ctx, &v1alpha1.TaskClaim{}); err != nil {
		return nil, err
	}
	if err := a.unwrap(ctx, to, data); err != nil {
		return nil, err
	}
	a.state.Calling(nil)
	var response *secrets.Secret
	verb := "wrote to "
	if a.task.Spec.Operation == v1alpha1.OperationGenericDelete {
		verb = "deleted "
		response, err = secrets.DeletePath(ctx, to.session, to.path)
	} else {
		response, err = secrets.WritePath(ctx, to.session, to.path, data)
	}
	if err != nil {
		return nil, err
	}
	return &outcome{result: secretResult(response), message: verb + response.Path, values: response.Data,
		leased: response.Leased}, nil
}

// healthy asks Vault whether it can do anything at all.
func (a *attempt) healthy(ctx context.Context, to *target) error {
	health, err := to.session.Health(ctx)
	switch {
	case transport.HealthHidden(err): // the operation itself will tell
		return nil
	case err != nil:
		return err
	case health.Sealed || !health.Initialized:
		return fault.Transient(v1alpha1.ReasonVaultSealed, "Vault is sealed or not initialized").WithRemedy("unseal it")
	}
	return nil
}
