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
		{name: "listed", allowed: listed, url: "https://VAULT.example.com:8200/", origin: "https://vault.example.com:8200"},
		{name: "listed http", allowed: listed, url: "http://127.0.0.1:8200", origin: "http://127.0.0.1:8200"},
		{name: "not listed", allowed: listed, url: "https://evil.example", sentence: "https://evil.example is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "listed with another port", allowed: listed, url: "https://vault.example.com", sentence: "https://vault.example.com is not in the controller's --allowed-vault-urls; use one that is, or have it listed"},
		{name: "http", url: "http://vault:8200", sentence: "http://vault:8200 is not encrypted; use https, or have this origin listed in the controller's --allowed-vault-urls"},
		{name: "http, not listed", allowed: listed, url: "http://vault:8200", sentence: "http://vault:8200 is not encrypted; use https, or have this origin listed in the controller's --allowed-vault-urls"},
		{name: "a path", url: "https://vault/v1", sentence: `has the path "/v1"; leave it out, enginePath and secretPath say what is read`},
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
	_, err = NewAllowedOrigins(nil, bad)
	g.Expect(err).To(MatchError("allowed proxy URLs: holds a user name or password; leave them out, spec.auth says who logs in"))
}
