package resolver

import (
	"context"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
)

// Values resolves a Connection's value for use inside the controller, without a pod. Every secret is read from Vault. The result holds
// secrets and is the caller's to forget. The error is a *fault.Fault whose sentence begins with the Connection's name.
func (e *Engine) Values(ctx context.Context, connection *v1alpha1.Connection) (map[string]any, error) {
	values, err := e.values(ctx, connection)
	if err != nil {
		return nil, located(connection, err)
	}
	return values, nil
}

func (e *Engine) values(ctx context.Context, connection *v1alpha1.Connection) (map[string]any, error) {
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return nil, err
	}
	return e.evaluate(ctx, connection.Namespace, connection.Spec.VaultSecrets, value)
}

// evaluate resolves the references in a value on behalf of nobody's pod.
func (e *Engine) evaluate(ctx context.Context, namespace string, attached []v1alpha1.VaultSecret, value *expression.Value) (map[string]any, error) {
	plan, err := e.plan(ctx, namespace, attached, value.References())
	if err != nil {
		return nil, err
	}
	e.open(ctx, plan, nil)
	e.read(ctx, plan)
	plan.refusePerVolume()
	return value.Evaluate(plan.lookup)
}
