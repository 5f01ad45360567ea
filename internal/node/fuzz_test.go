package node

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// FuzzTokens: whatever stands where the tokens should be, reading it ends, and what is said of it quotes none of it.
func FuzzTokens(f *testing.F) {
	f.Add(`{"sallyport.dev":{"token":"canary","expirationTimestamp":"2026-01-02T03:04:05Z"}}`)
	f.Add(`{"sallyport.dev":{"token":"canary","expirationTimestamp":"canary"}}`)
	f.Add(`{"sallyport.dev":["canary"]}`)
	f.Add(`canary`)
	f.Fuzz(func(t *testing.T, tokens string) {
		token, err := tokenIn(&csi.NodePublishVolumeRequest{Secrets: map[string]string{keyTokens: tokens}})
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("the error quotes what it could not read: %v", err)
		}
		if (err == nil) != (token.Value != "") {
			t.Errorf("token and error do not go together: %v, %v", token, err)
		}
	})
}
