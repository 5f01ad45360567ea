package client

import (
	"testing"
	"time"
)

// FuzzBundle: whatever a key of the ConfigMap holds, reading it ends in an address with something to trust, or in an
// error.
func FuzzBundle(f *testing.F) {
	f.Add("")
	f.Add("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
	f.Add("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, bundle string) {
		p, err := parseBundle(bundle, time.Unix(0, 0))
		if (err == nil) != (p.address != nil && p.roots != nil) {
			t.Errorf("address and error do not go together: %v, %v", p, err)
		}
	})
}
