package transport

import (
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
)

func TestOnlyARedirectToTheSamePlaceIsFollowed(t *testing.T) {
	c := &Conn{transport: &Transport{Config: Config{Origin: "https://vault.example.com"}}}
	r := Request{Method: http.MethodGet, Path: "secret/data/a b"}
	for location, follow := range map[string]bool{
		"https://vault.example.com/v1/secret/data/a%20b":            true,
		"https://VAULT.example.com:443/v1/secret/data/a%20b?x=y":    true,
		"https://vault.example.com/v1/secret/data/other":            false,
		"https://vault.example.com:8200/v1/secret/data/a%20b":       false,
		"http://vault.example.com/v1/secret/data/a%20b":             false,
		"https://evil.example/v1/secret/data/a%20b":                 false,
		"https://vault.example.com@evil.example/v1/secret/data/a b": false,
		"//evil.example/v1/secret/data/a%20b":                       false,
		"/v1/secret/data/a%20b":                                     false,
		"":                                                          false,
		"::":                                                        false,
	} {
		NewWithT(t).Expect(c.leadsBack(location, r)).To(Equal(follow), "%q", location)
	}
}
