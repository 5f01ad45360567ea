package transport

import (
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
)

func TestMetricsCallARequestByWhatItIsFor(t *testing.T) {
	g := NewWithT(t)
	token := NewToken("t")
	for _, row := range []struct {
		request Request
		want    string
	}{
		{Request{Method: http.MethodGet, Path: "sys/health"}, "health"},
		{Request{Method: http.MethodPost, Path: "auth/shop/kubernetes/login"}, "login"},
		{Request{Method: http.MethodPost, Path: "auth/approle/role/shop/secret-id/lookup", Token: &token}, "write"},
		{Request{Method: http.MethodPost, Path: "auth/token/renew-self", Token: &token}, "renew_token"},
		{Request{Method: http.MethodPost, Path: "auth/token/revoke-self", Token: &token}, "revoke_token"},
		{Request{Method: http.MethodPost, Path: "sys/leases/renew", Token: &token}, "renew_lease"},
		{Request{Method: http.MethodPost, Path: "sys/leases/revoke", Token: &token}, "revoke_lease"},
		{Request{Method: http.MethodGet, Path: "secret/data/oracle", Token: &token}, "read"},
		{Request{Method: http.MethodDelete, Path: "secret/data/oracle", Token: &token}, "delete"},
		{Request{Method: http.MethodPatch, Path: "secret/data/oracle", Token: &token}, "write"},
		{Request{Method: "ANYTHING", Path: "secret/data/oracle", Token: &token}, "write"},
	} {
		g.Expect(row.request.operation()).To(Equal(row.want), row.request.String())
	}
}
