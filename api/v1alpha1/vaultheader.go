package v1alpha1

import (
	"regexp"
	"slices"
	"strings"
)

// MaxHeaderText bounds the text of a header, in bytes, and MaxHeaders how many a VaultConfig has: as the CRD does.
const (
	MaxHeaderText = 4096
	MaxHeaders    = 16
)

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)
	ownHeaders = []string{
		"authorization", "forwarded", "x-real-ip", "x-http-method", "x-http-method-override", "x-method-override",
		"accept", "accept-encoding", "connection", "expect", "host", "keep-alive", "range", "te", "trailer",
		"transfer-encoding", "upgrade", "user-agent",
	}
	ownPrefixes = []string{"x-vault-", "x-forwarded-", "x-original-", "x-rewrite-", "content-", "if-", "proxy-"}
)

var credentialName = regexp.MustCompile(`(^|-)(cookie|token|secret|password|credentials?|key|apikey|jwt)(-|$)`)

// HoldsCredential tells whether a header is a credential by its name. Its text must come from a Secret then.
func (h *VaultHeader) HoldsCredential() bool {
	return credentialName.MatchString(strings.ToLower(h.Name))
}

// MayBeSent tells whether requests to Vault may have a header of this name besides their own. The rules of the CRD
// refuse all others, and say why.
func (h *VaultHeader) MayBeSent() bool {
	name := strings.ToLower(h.Name)
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return headerName.MatchString(h.Name) && !slices.Contains(ownHeaders, name) &&
		!slices.ContainsFunc(ownPrefixes, begins)
}
