package vault

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// origins are addresses that are allowed, normalised; empty means that none is named.
type origins map[string]struct{}

func newOrigins(urls []string) (origins, error) {
	allowed := origins{}
	for _, raw := range urls {
		origin, problem := parseOrigin(raw)
		if problem != "" {
			return nil, errors.New(problem)
		}
		allowed[origin] = struct{}{}
	}
	return allowed, nil
}

// allowed are the addresses that VaultConfigs may name.
type allowed struct{ vaults, proxies origins }

func newAllowed(options Options) (allowed, error) {
	vaults, err := newOrigins(options.AllowedURLs)
	if err != nil {
		return allowed{}, fmt.Errorf("allowed Vault URLs: %w", err)
	}
	proxies, err := newOrigins(options.AllowedProxyURLs)
	if err != nil {
		return allowed{}, fmt.Errorf("allowed proxy URLs: %w", err)
	}
	return allowed{vaults, proxies}, nil
}

// vault returns the normalised origin of a VaultConfig's spec.url, or a fault if credentials may not be sent there.
func (a allowed) vault(config *v1alpha1.VaultConfig) (string, error) {
	invalid := func(problem string) error {
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.url: %s (%s)", problem, configName(config))
	}
	origin, problem := parseOrigin(config.Spec.URL)
	if problem != "" {
		return "", invalid(problem)
	}
	_, listed := a.vaults[origin]
	switch {
	case listed:
		return origin, nil
	case strings.HasPrefix(origin, "http:"):
		return "", invalid(origin + " is not encrypted; use https, or have this origin listed in the controller's --allowed-vault-urls")
	case len(a.vaults) > 0:
		return "", invalid(origin + " is not in the controller's --allowed-vault-urls; use one that is, or have it listed")
	}
	return origin, nil
}

// proxy returns the normalised origin of a VaultConfig's proxy, empty if it has none. A proxy together with an authority of the
// VaultConfig's own could stand in for Vault, so that where Vaults are limited, proxies must be too.
func (a allowed) proxy(config *v1alpha1.VaultConfig) (string, error) {
	if config.Spec.Proxy == nil {
		return "", nil
	}
	invalid := func(problem string) error {
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.proxy.url: %s (%s)", problem, configName(config))
	}
	origin, problem := parseProxy(config.Spec.Proxy.URL)
	if problem != "" {
		return "", invalid(problem)
	}
	_, listed := a.proxies[origin]
	switch {
	case !strings.HasPrefix(strings.ToLower(config.Spec.URL), "https:"):
		return "", invalid("a proxy would see all that is sent to an http address; use https in spec.url, or leave out the proxy")
	case !listed && len(a.vaults)+len(a.proxies) > 0:
		return "", invalid(origin + " is not in the controller's --allowed-proxy-urls; use one that is, or have it listed")
	}
	return origin, nil
}

// parseProxy is parseOrigin for a proxy, with examples that fit.
func parseProxy(raw string) (origin, problem string) {
	u, err := url.Parse(raw)
	switch {
	case err == nil && u.User != nil:
		return "", "holds a user name or password, which Sallyport does not send to proxies; leave them out, and let the proxy know the controller by its address"
	case err == nil && strings.Trim(u.Path, "/") != "":
		return "", fmt.Sprintf("has the path %q; leave it out", u.Path)
	}
	origin, problem = parseOrigin(raw)
	return origin, strings.ReplaceAll(problem, "https://vault.example.com:8200", "http://proxy.example.com:3128")
}

// parseOrigin normalises an origin: scheme and host in lower case, the scheme's own port left out. A problem is told with
// its cure, and without the URL: it may hold a password.
func parseOrigin(raw string) (origin, problem string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The error quotes the URL.
		return "", "cannot be parsed as a URL; write an origin such as https://vault.example.com:8200"
	case u.User != nil:
		return "", "holds a user name or password; leave them out, spec.auth says who logs in"
	case u.Scheme != "https" && u.Scheme != "http":
		return "", "is no http or https URL; write an origin such as https://vault.example.com:8200"
	case u.Hostname() == "" || u.Opaque != "":
		return "", "names no host; write an origin such as https://vault.example.com:8200"
	case u.Path != "" && u.Path != "/":
		return "", fmt.Sprintf("has the path %q; leave it out, enginePath and secretPath say what is read", u.Path)
	case u.RawQuery != "" || u.ForceQuery:
		return "", "has a query; leave out everything from the question mark on"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "", "has a fragment; leave out everything from the # on"
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host, ""
}

// configName is how sentences call a VaultConfig. One that stands in another object goes by that object's kind and name.
func configName(config *v1alpha1.VaultConfig) string {
	kind := "VaultConfig"
	if config.Kind != "" {
		kind = config.Kind
	}
	return kind + " " + config.Namespace + "/" + config.Name
}
