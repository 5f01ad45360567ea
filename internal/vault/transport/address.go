package transport

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// AllowedOrigins are the addresses that VaultConfigs may name.
type AllowedOrigins struct{ vaults, proxies origins }

// origins are normalised; empty means that none is named.
type origins map[string]struct{}

// NewAllowedOrigins reads the controller's flags. It fails if one of them is no origin.
func NewAllowedOrigins(vaultURLs, proxyURLs []string) (AllowedOrigins, error) {
	vaults, err := newOrigins(vaultURLs)
	if err != nil {
		return AllowedOrigins{}, fmt.Errorf("allowed Vault URLs: %w", err)
	}
	proxies, err := newOrigins(proxyURLs)
	if err != nil {
		return AllowedOrigins{}, fmt.Errorf("allowed proxy URLs: %w", err)
	}
	return AllowedOrigins{vaults, proxies}, nil
}

func newOrigins(urls []string) (origins, error) {
	allowed := origins{}
	for _, raw := range urls {
		origin, problem := parseOrigin(raw)
		if problem.text != "" {
			return nil, errors.New(problem.text + "; " + problem.remedy)
		}
		allowed[origin] = struct{}{}
	}
	return allowed, nil
}

// problem of an address, with its remedy. Neither quotes the URL: it may hold a password.
type problem struct{ text, remedy string }

func (p problem) fault(field string, config *v1alpha1.VaultConfig) error {
	return fault.InField(fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s", p.text).
		WithRemedy("%s (%s)", p.remedy, SubjectOf(config)), "%s", field)
}

// Vault returns the normalised origin of a VaultConfig's spec.url, or a fault if credentials may not be sent there.
func (a AllowedOrigins) Vault(config *v1alpha1.VaultConfig) (string, error) {
	invalid := func(p problem) (string, error) { return "", p.fault("spec.url", config) }
	origin, wrong := parseOrigin(config.Spec.URL)
	if wrong.text != "" {
		return invalid(wrong)
	}
	_, listed := a.vaults[origin]
	switch {
	case listed:
		return origin, nil
	case strings.HasPrefix(origin, "http:"):
		return invalid(problem{origin + " is not encrypted",
			"use https, or have this origin listed in the controller's --allowed-vault-urls"})
	case len(a.vaults) > 0:
		return invalid(problem{origin + " is not in the controller's --allowed-vault-urls", useListed})
	}
	return origin, nil
}

const useListed = "use one that is, or have it listed"

// Proxy returns the normalised origin of a VaultConfig's proxy, empty if it has none. A proxy together with an
// authority of the VaultConfig's own could stand in for Vault, so that where Vaults are limited, proxies must be too.
func (a AllowedOrigins) Proxy(config *v1alpha1.VaultConfig) (string, error) {
	if config.Spec.Proxy == nil {
		return "", nil
	}
	invalid := func(p problem) (string, error) { return "", p.fault("spec.proxy.url", config) }
	origin, wrong := parseProxy(config.Spec.Proxy.URL)
	if wrong.text != "" {
		return invalid(wrong)
	}
	_, listed := a.proxies[origin]
	switch {
	case !strings.HasPrefix(strings.ToLower(config.Spec.URL), "https:"):
		return invalid(problem{"a proxy would see all that is sent to an http address", "use https in spec.url, or leave out the proxy"})
	case !listed && len(a.vaults)+len(a.proxies) > 0:
		return invalid(problem{origin + " is not in the controller's --allowed-proxy-urls", useListed})
	}
	return origin, nil
}

const (
	writeVaultOrigin = "write an origin such as https://vault.example.com:8200"
	writeProxyOrigin = "write an origin such as http://proxy.example.com:3128"
)

func parseOrigin(raw string) (origin string, wrong problem) {
	return parse(raw, writeVaultOrigin)
}

// parseProxy is parseOrigin for a proxy, with remedies that fit.
func parseProxy(raw string) (origin string, wrong problem) {
	u, err := url.Parse(raw)
	switch {
	case err == nil && u.User != nil:
		return "", problem{"holds a user name or password, which Sallyport does not send to proxies",
			"leave them out, and let the proxy know the controller by its address"}
	case err == nil && strings.Trim(u.Path, "/") != "":
		return "", problem{fmt.Sprintf("has the path %q", u.Path), "leave it out"}
	}
	return parse(raw, writeProxyOrigin)
}

// parse normalises an origin: scheme and host in lower case, the scheme's own port left out.
func parse(raw, example string) (origin string, wrong problem) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The error quotes the URL.
		return "", problem{"cannot be parsed as a URL", example}
	case u.User != nil:
		return "", problem{"holds a user name or password", "leave them out, spec.auth says who logs in"}
	case u.Scheme != "https" && u.Scheme != "http":
		return "", problem{"is no http or https URL", example}
	case u.Hostname() == "" || u.Opaque != "":
		return "", problem{"names no host", example}
	case u.Path != "" && u.Path != "/":
		return "", problem{fmt.Sprintf("has the path %q", u.Path), "leave it out, enginePath and secretPath say what is read"}
	case u.RawQuery != "" || u.ForceQuery:
		return "", problem{"has a query", "leave out everything from the question mark on"}
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "", problem{"has a fragment", "leave out everything from the # on"}
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
	return u.Scheme + "://" + host, problem{}
}

// SubjectOf is the object that a VaultConfig is, for faults and sentences. One that stands in another object is that
// object.
func SubjectOf(config *v1alpha1.VaultConfig) fault.Subject {
	subject := fault.Subject{Kind: fault.KindVaultConfig, Namespace: config.Namespace, Name: config.Name}
	if config.Kind != "" {
		subject.Kind = config.Kind
	}
	return subject
}

// CleanPath trims the slashes around a path and refuses what would name another one than it seems to: dots are resolved
// by HTTP clients and proxies on the way, and Vault's policies are about the path that arrives. Escaping is done where
// the URL is made.
func CleanPath(field, raw string) (string, error) {
	invalid := func(problem, remedy string) (string, error) {
		return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s %q: %s", field, raw, problem).WithRemedy("%s", remedy)
	}
	path := strings.Trim(raw, "/")
	switch {
	case path == "":
		return invalid("names nothing", "give a path such as team/oracle")
	case !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return invalid("holds a character that cannot be printed", "leave it out")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return invalid("holds an empty part", "write one slash, not two")
		case ".", "..":
			return invalid(`holds "`+segment+`"`, "write the path itself")
		}
	}
	return path, nil
}
