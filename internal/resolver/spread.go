package resolver

import (
	"fmt"

	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
)

// A secret that is spread is so many references: each of its keys stands in value as if its author had written
// vault.secret(name.key) there. Listed keys do so from the beginning, all others once the secret was read. So files,
// checks, digests and budgets know nothing of spreading.

// maxSpread bounds the keys that are spread, as references are bounded that stand in value.
const maxSpread = 1024

func isSpread(secret v1alpha1.VaultSecret) bool { return ptr.Deref(secret.Spread, false) }

// spreadsAll: which keys are spread says the secret itself.
func spreadsAll(secret v1alpha1.VaultSecret) bool { return isSpread(secret) && len(secret.Keys) == 0 }

// spreadName is how references call an attached secret, which needs no name of its author's to be spread.
func spreadName(attached []v1alpha1.VaultSecret, i int) string {
	if attached[i].Name != "" {
		return attached[i].Name
	}
	return fmt.Sprintf("vaultSecrets[%d]", i)
}

// spreadListed returns the references of the keys that are listed, by the key in value.
func spreadListed(spec *v1alpha1.ConnectionSpec) (map[string]expression.Reference, error) {
	references := map[string]expression.Reference{}
	for i := range spec.VaultSecrets {
		if secret := spec.VaultSecrets[i]; isSpread(secret) {
			if err := spread(references, spec, i, secret.Keys); err != nil {
				return nil, err
			}
		}
	}
	return references, nil
}

// spread adds references to the keys of an attached secret. What stands in value itself is left out.
func spread(references map[string]expression.Reference, spec *v1alpha1.ConnectionSpec, i int, keys []string) error {
	for _, key := range keys {
		name := spec.VaultSecrets[i].Prefix + key
		if _, stands := spec.Value[name]; stands {
			continue
		}
		reference := expression.Reference{Secret: spreadName(spec.VaultSecrets, i), Key: key}
		if other, taken := references[name]; taken {
			return fault.Waiting(v1alpha1.ReasonAmbiguousKey, "is spread from two secrets: %s and %s", reference, other).
				OnField("key %q of value", name).WithRemedy("give one of them a prefix, list its keys, or write the key in value")
		}
		if references[name] = reference; len(references) > maxSpread {
			return fault.Waiting(v1alpha1.ReasonTooLarge, "more than %d keys are spread", maxSpread).
				WithRemedy("list those that are wanted in keys")
		}
	}
	return nil
}
