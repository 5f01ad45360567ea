package transport

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func TestAllowedVaults(t *testing.T) {
	const write = "; write an origin such as https://vault.example.com:8200"
	const below = "; write the path below which Vault is, such as https://gateway.example.com/vault"
	const notDNS = "names a host with characters that no name in DNS has; write its ASCII form (xn--…)"
	listed := []string{"https://vault.example.com:8200", "http://127.0.0.1:8200"}
	tests := []struct {
		name     string
		allowed  []string
		url      string
		origin   string
		sentence string
	}{
		{name: "an origin", url: "https://vault.example.com:8200", origin: "https://vault.example.com:8200"},
		{name: "a slash at the end", url: "https://vault.example.com:8200/", origin: "https://vault.example.com:8200"},
		{name: "upper case and the default port", url: "HTTPS://Vault.Example.com:443", origin: "https://vault.example.com"},
		{name: "an IPv6 address", url: "https://[2001:DB8::1]", origin: "https://[2001:db8::1]"},
		{name: "an IPv6 address with a port", url: "https://[::1]:8200", origin: "https://[::1]:8200"},
		{name: "a port with zeros", url: "https://vault:00443", origin: "https://vault"},
		{name: "letters that look like others", url: "https://v\u0430ult", sentence: notDNS},
		{name: "escaped text that turns around", url: "https://vault%E2%80%AEmoc", sentence: notDNS},
		{name: "a zone", url: "https://[fe80::1%25eth0]", sentence: notDNS},
		{name: "listed", allowed: listed, url: "https://VAULT.example.com:8200/", origin: "https://vault.example.com:8200"},
		{name: "listed http", allowed: listed, url: "http://127.0.0.1:8200", origin: "http://127.0.0.1:8200"},
		{name: "not listed", allowed: listed, url: "https://evil.example", sentence: "https://evil.example is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "listed with another port", allowed: listed, url: "https://vault.example.com", sentence: "https://vault.example.com is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "http", url: "http://vault:8200", sentence: "http://vault:8200 is not encrypted; use https, or have this address listed in the controller's --allowed-vault-urls"},
		{name: "http, not listed", allowed: listed, url: "http://vault:8200", sentence: "http://vault:8200 is not encrypted; use https, or have this address listed in the controller's --allowed-vault-urls"},
		{name: "below a path", url: "https://GW.example.com:443/Team-A/vault/", origin: "https://gw.example.com/Team-A/vault"},
		{name: "listed with its path", allowed: []string{"https://gw/vault/"}, url: "https://gw/vault", origin: "https://gw/vault"},
		{name: "below a path that is not listed", allowed: []string{"https://gw"}, url: "https://gw/vault", sentence: "https://gw/vault is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "above the path that is listed", allowed: []string{"https://gw/vault"}, url: "https://gw", sentence: "https://gw is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "beside the path that is listed", allowed: []string{"https://gw/vault"}, url: "https://gw/vault/other", sentence: "https://gw/vault/other is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "the API's own path", url: "https://vault/v1", sentence: `has the path "/v1", with a part of Vault's API; leave out everything from /v1 on: enginePath and secretPath say what is read`},
		{name: "a secret's path", url: "https://gw/vault/v1/secret/data/db", sentence: `has the path "/vault/v1/secret/data/db", with a part of Vault's API; leave out everything from /v1 on: enginePath and secretPath say what is read`},
		{name: "the pages' path", url: "https://vault/ui/vault/auth", sentence: `has the path "/ui/vault/auth", of pages for people; leave out everything from /ui on`},
		{name: "dots in the path", url: "https://gw/a/../vault", sentence: "has a path with an empty part or dots" + below},
		{name: "two slashes in the path", url: "https://gw//vault", sentence: "has a path with an empty part or dots" + below},
		{name: "two slashes at the end of the path", url: "https://gw/vault//", sentence: "has a path with an empty part or dots" + below},
		{name: "an escaped slash in the path", url: "https://gw/a%2fvault", sentence: "has a path with other characters than letters, digits, '-', '.', '_' and '~'" + below},
		{name: "escaped dots in the path", url: "https://gw/%2e%2e/vault", sentence: "has a path with other characters than letters, digits, '-', '.', '_' and '~'" + below},
		{name: "a semicolon in the path", url: "https://gw/vault;a=b", sentence: "has a path with other characters than letters, digits, '-', '.', '_' and '~'" + below},
		{name: "a query", url: "https://vault?a=b", sentence: "has a query; leave out everything from the question mark on"},
		{name: "an empty query", url: "https://vault?", sentence: "has a query; leave out everything from the question mark on"},
		{name: "a fragment", url: "https://vault#a", sentence: "has a fragment; leave out everything from the # on"},
		{name: "an empty fragment", url: "https://vault#", sentence: "has a fragment; leave out everything from the # on"},
		{name: "a password", url: "https://me:hunter2@vault", sentence: "holds a user name or password; leave them out, spec.auth says who logs in"},
		{name: "no scheme", url: "vault.example.com:8200", sentence: "is no http or https URL" + write},
		{name: "no scheme but a password", url: "me:hunter2@vault:8200", sentence: "is no http or https URL" + write},
		{name: "another scheme", url: "unix:///run/vault.sock", sentence: "is no http or https URL" + write},
		{name: "no host", url: "https://:8200", sentence: "names no host" + write},
		{name: "nothing", url: "", sentence: "is no http or https URL" + write},
		{name: "a control character", url: "https://vault\n", sentence: "cannot be parsed as a URL" + write},
		{name: "a port that is no number", url: "https://vault:hunter2", sentence: "cannot be parsed as a URL" + write},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			allowed, err := NewAllowedOrigins(test.allowed, nil)
			g.Expect(err).NotTo(HaveOccurred())
			config := builder.VaultConfig("shop", "prod", builder.WithURL(test.url))
			origin, err := allowed.Vault(config)
			g.Expect(origin).To(Equal(test.origin))
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError("spec.url: " + test.sentence + " (VaultConfig shop/prod)"))
			f := fault.From(err)
			g.Expect([]any{f.Reason, f.Class}).To(Equal([]any{v1alpha1.ReasonInvalidSpec, fault.ClassTerminal}))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

func TestAllowedProxies(t *testing.T) {
	const write = "; write an origin such as http://proxy.example.com:3128"
	vaults, proxies := []string{"https://vault"}, []string{"http://proxy:3128"}
	tests := []struct {
		name            string
		vaults, proxies []string
		url, proxy      string
		origin          string
		sentence        string
	}{
		{name: "any", proxy: "http://Proxy:3128/", origin: "http://proxy:3128"},
		{name: "https", proxy: "https://proxy", origin: "https://proxy"},
		{name: "listed", proxies: proxies, proxy: "http://proxy:3128", origin: "http://proxy:3128"},
		{name: "not listed", proxies: proxies, proxy: "http://other", sentence: "http://other is not in the controller's --allowed-proxy-urls; use one that is, or have it listed"},
		{name: "none where Vaults are listed", vaults: vaults, proxy: "http://proxy:3128", sentence: "http://proxy:3128 is not in the controller's --allowed-proxy-urls; use one that is, or have it listed"},
		{
			name: "listed where Vaults are", vaults: vaults, proxies: proxies, proxy: "http://proxy:3128",
			origin: "http://proxy:3128",
		},
		{name: "in front of http", vaults: []string{"http://vault"}, proxies: proxies, url: "http://vault", proxy: "http://proxy:3128", sentence: "a proxy would see all that is sent to an http address; use https in spec.url, or leave out the proxy"},
		{name: "a path like a Vault's", vaults: vaults, proxies: proxies, proxy: "http://proxy:3128/vault", sentence: `has the path "/vault"; leave it out`},
		{name: "a path", proxy: "http://proxy/x", sentence: `has the path "/x"; leave it out`},
		{name: "another scheme", proxy: "socks5://proxy", sentence: "is no http or https URL" + write},
		{name: "a password", proxy: "http://me:hunter2@proxy", sentence: "holds a user name or password, which Sallyport does not send to proxies; leave them out, and let the proxy know the controller by its address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			allowed, err := NewAllowedOrigins(test.vaults, test.proxies)
			g.Expect(err).NotTo(HaveOccurred())
			config := builder.VaultConfig("shop", "prod", builder.WithURL("https://vault"))
			config.Spec.Proxy = &v1alpha1.VaultProxy{URL: test.proxy}
			if test.url != "" {
				config.Spec.URL = test.url
			}
			origin, err := allowed.Proxy(config)
			g.Expect(origin).To(Equal(test.origin))
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError("spec.proxy.url: " + test.sentence + " (VaultConfig shop/prod)"))
			f := fault.From(err)
			g.Expect([]any{f.Reason, f.Class}).To(Equal([]any{v1alpha1.ReasonInvalidSpec, fault.ClassTerminal}))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

func TestNewAllowedRefusesWhatIsNoOrigin(t *testing.T) {
	g := NewWithT(t)
	bad := []string{"https://good", "https://me:hunter2@bad"}
	_, err := NewAllowedOrigins(bad, nil)
	g.Expect(err).To(MatchError("allowed Vault URLs: holds a user name or password; leave them out, spec.auth says who logs in"))
	_, err = NewAllowedOrigins(nil, []string{"http://proxy/vault"})
	g.Expect(err).To(MatchError(`allowed proxy URLs: has the path "/vault"; leave it out`))
	_, err = NewAllowedOrigins(nil, bad)
	g.Expect(err).To(MatchError("allowed proxy URLs: holds a user name or password; leave them out, spec.auth says who logs in"))
}

func TestAPathFromANamespaceAbove(t *testing.T) {
	for _, row := range [][3]string{
		{"", "secret/data/db", "secret/data/db"}, {"child", "secret/data/db", "child/secret/data/db"},
		{"child/b", "secret", "child/b/secret"}, {"child", "", ""}, {"", "", ""},
	} {
		NewWithT(t).Expect(PathBelow(row[0], row[1])).To(Equal(row[2]), "%q, %q", row[0], row[1])
	}
}
