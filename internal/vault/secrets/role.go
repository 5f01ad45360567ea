package secrets

import (
	"strings"

	"sallyport.dev/sallyport/internal/vault/transport"
)

// What answers of engines other than KV say of themselves, in keys of their data. Seen in Vault 1.21: database
// (static-creds), ldap (static-cred), totp (code), gcp (token).
const (
	keyLastRotation = "last_vault_rotation"
	keyTTL          = "ttl"
	keyCode         = "code"
	keyTokenTTL     = "token_ttl"
	keyTokenEnd     = "expires_at_seconds"
)

// describeRole reads into a secret, from the answer of another engine than KV when it was and will be changed, and what of it differs
// at each read. The ttl of a static role counts down to its rotation; elsewhere that is a setting.
func describeRole(s *Secret, path string) {
	if rotated := transport.Timestamp(s.Data[keyLastRotation]); !rotated.IsZero() {
		s.CreatedTime, s.Fleeting = rotated, []string{keyTTL}
		if _, counts := s.Data[keyTTL]; counts {
			s.ChangesIn = max(transport.Seconds(s.Data[keyTTL]), 1)
		}
	}
	if strings.HasPrefix(path, keyCode+"/") {
		s.Fleeting = []string{keyCode}
	}
}

// isAccessToken tells whether an answer is a token of the cloud's that was made for this request and ends by itself,
// without a lease.
func isAccessToken(data map[string]any) bool {
	_, counts := data[keyTokenTTL]
	return counts && transport.Number(data[keyTokenEnd]) > 0
}
