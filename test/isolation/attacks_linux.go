package isolation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Attacks are the rows of the matrix.
var Attacks = []Attack{
	// What is in memory.
	{Name: "64 answers of 4 MiB for one Connection", Begin: largeAnswers},
	{Name: "8 Connections with 64 secrets of 980 kB each, in the shared Vault", Begin: largeSecrets},
	{Name: "secrets of 300,000 keys", Begin: manyKeys},
	{Name: "JSON that is nested 100,000 deep", Begin: deepJSON},
	{Name: "60 Connections of literals, as large as the API server takes them", Begin: literals, Restart: true},
	{Name: "four namespaces full of such Connections, when the controllers start", Begin: literalsOfMany, Restart: true},
	{Name: "100 VaultConfigs whose Vault tells of 52,000 policies", Begin: manyPolicies, Restart: true},
	{Name: "a Vault whose words are control characters and megabytes", Begin: hostileWords},
	{Name: "compressed answers and headers without end", Begin: bombs},
	{Name: "templates that loop over nothing", Begin: emptyLoops},
	// What takes time.
	{Name: "100 VaultTasks at a Vault that hangs", Begin: hangingTasks},
	{Name: "100 VaultConfigs whose Vault answers health and then hangs", Begin: hangingConfigs},
	{Name: "100 Vaults that answer nothing, not even health, when the controllers start", Begin: hangingVaults, Restart: true},
	{Name: "an engine of the shared Vault that hangs", Begin: hangingEngine},
	{Name: "a Vault that answers a byte a second", Begin: slowAnswers},
	{Name: "a Vault that redirects in a circle", Begin: redirects},
	{Name: "a Vault that resets connections", Begin: resets},
	{Name: "leases of a Vault that hangs at their revocation", Begin: hangingRevocations},
	// What is much.
	{Name: "1,000 VaultTasks", Begin: manyTasks},
	{Name: "100 VaultTasks that write 300 kB each, 1,000 if there is time", Begin: largeTasks},
	{Name: "400 Connections edited in a loop, 1,000 if there is time", Begin: editedConnections},
	{Name: "100 VaultConfigs edited in a loop", Begin: editedConfigs},
	{Name: "VaultTasks that write paths like the victim's, to another Vault", Begin: samePaths},
	// What reaches the resolver and the node.
	{Name: "2,000 requests with invented tokens at port 9443", Begin: inventedTokens},
	{Name: "connections to port 9443 that say nothing", Begin: silentConnections},
	{Name: "1,280 callers of port 9443 that say a byte at a time, beside others with invented tokens", Begin: slowCallers},
	{Name: "a stolen node that asks for invented volumes, and for pods that are not on it", Begin: stolenNode},
	{Name: "100 volumes of a Vault that hangs", Begin: hangingVolumes},
	{Name: "120 volumes of 510 empty files with long names", Begin: emptyFiles},
	{Name: "40 pods with 10 volumes each, 300 if there is time", Begin: manyVolumes},
	{Name: "a Connection edited to learn a secret from its status", Begin: oracle},
}

// heavier is a number for `make test`, or the one that an attack has when there is time.
func heavier(short, long int) int {
	if Long() {
		return long
	}
	return short
}

// both is the proof of two things.
func both(first, second Proof) Proof {
	return func() (string, error) {
		a, firstErr := first()
		b, secondErr := second()
		return a + "; " + b, errors.Join(firstErr, secondErr)
	}
}

// maxStatus is how large the status of an object may be, in bytes of JSON: one that is as large as all its fields allow.
const maxStatus = 64 << 10

// decentStatus is the proof that no status of the tenant's is large, or holds characters that a terminal would act on.
func (t *Tenant) decentStatus() Proof {
	return func() (string, error) {
		list := &v1alpha1.VaultConfigList{}
		connections := &v1alpha1.ConnectionList{}
		err := errors.Join(t.s.Client.List(t.ctx, list, client.InNamespace(t.Namespace)),
			t.s.Client.List(t.ctx, connections, client.InNamespace(t.Namespace)))
		if err != nil {
			return "", err
		}
		largest := 0
		look := func(name string, status any) {
			encoded, encodeErr := json.Marshal(status)
			largest = max(largest, len(encoded))
			if err == nil {
				err = errors.Join(encodeErr, decent(name, status, encoded))
			}
		}
		for i := range list.Items {
			look(list.Items[i].Name, list.Items[i].Status)
		}
		for i := range connections.Items {
			look(connections.Items[i].Name, connections.Items[i].Status)
		}
		return fmt.Sprintf("the largest status has %d bytes", largest), err
	}
}

// decent looks at every string of a status.
func decent(name string, status any, encoded []byte) error {
	if len(encoded) > maxStatus {
		return fmt.Errorf("the status of %s has %d bytes", name, len(encoded))
	}
	for i, r := range fmt.Sprintf("%+v", status) {
		if r != ' ' && !unicode.IsPrint(r) {
			return fmt.Errorf("the status of %s has the character %U at %d", name, r, i)
		}
	}
	return nil
}

// create many objects, some at a time.
func (t *Tenant) createMany(number int, object func(i int) client.Object) error {
	return t.each(number, func(ctx context.Context, i int) error { return t.Client.Create(ctx, object(i)) })
}

// isData tells whether a path is that of a secret.
func isData(path string) bool { return strings.HasPrefix(path, "secret/data/") }
