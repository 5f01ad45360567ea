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
type AllowedOrigins struct{ vaults, proxies addresses }

// addresses are normalised; empty means that none is named.
type addresses map[string]struct{}

// NewAllowedOrigins reads the controller's flags. It fails if one of them is no address.
func NewAllowedOrigins(vaultURLs, proxyURLs []string) (AllowedOrigins, error) {
	vaults, err := newAddresses(vaultURLs, parseVault)
	if err != nil {
		return AllowedOrigins{}, fmt.Errorf("allowed Vault URLs: %w", err)
	}
	proxies, err := newAddresses(proxyURLs, parseOrigin)
	if err != nil {
		return AllowedOrigins{}, fmt.Errorf("allowed proxy URLs: %w", err)
	}
	return AllowedOrigins{vaults, proxies}, nil
}

func newAddresses(urls []string, parse func(string) (string, problem)) (addresses, error) {
	allowed := addresses{}
	for _, raw := range urls {
		address, wrong := parse(raw)
		if wrong.text != "" {
			return nil, errors.New(wrong.text + "; " + wrong.remedy)
		}
		allowed[address] = struct{}{}
	}
	return allowed, nil
}

// problem of an address, with its remedy. Neither quotes the URL: it may hold a password.
type problem struct{ text, remedy string }

func (p problem) fault(field string, config *v1alpha1.VaultConfig) error {
	return fault.InField(fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s", p.text).
		WithRemedy("%s (%s)", p.remedy, SubjectOf(config)), "%s", field)
}

// Vault returns the normalised address of a VaultConfig's spec.url, or a fault if credentials may not be sent there. An
// address below a path must be listed with it: what else is behind that origin, nobody has listed.
func (a AllowedOrigins) Vault(config *v1alpha1.VaultConfig) (string, error) {
	invalid := func(p problem) (string, error) { return "", p.fault("spec.url", config) }
	address, wrong := parseVault(config.Spec.URL)
	if wrong.text != "" {
		return invalid(wrong)
	}
	_, listed := a.vaults[address]
	switch {
	case listed:
		return address, nil
	case strings.HasPrefix(address, "http:"):
		return invalid(problem{address + " is not encrypted",
			"use https, or have this address listed in the controller's --allowed-vault-urls"})
	case len(a.vaults) > 0:
		return invalid(problem{address + " is not in the controller's --allowed-vault-urls", useListed})
	}
	return address, nil
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

// parseVault normalises Vault's address: an origin, and the path below which a gateway has Vault's API, without a slash
// at its end.
func parseVault(raw string) (address string, wrong problem) {
	u, wrong := parse(raw, writeVaultOrigin)
	if wrong.text != "" {
		return "", wrong
	}
	origin, wrong := originOf(u, raw, writeVaultOrigin)
	if wrong.text != "" {
		return "", wrong
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if path == "" {
		return origin, problem{}
	}
	const write = "write the path below which Vault is, such as https://gateway.example.com/vault"
	for segment := range strings.SplitSeq(path[1:], "/") {
		switch {
		case segment == "v1":
			return "", problem{fmt.Sprintf("has the path %q, with a part of Vault's API", path), "leave out everything from /v1 on: " +
				"enginePath and secretPath say what is read"}
		case segment == "ui":
			return "", problem{fmt.Sprintf("has the path %q, of pages for people", path), "leave out everything from /ui on"}
		case segment == "", segment == ".", segment == "..":
			return "", problem{"has a path with an empty part or dots", write}
		case strings.ContainsFunc(segment, func(r rune) bool { return !strings.ContainsRune(pathCharacters, r) }):
			return "", problem{"has a path with other characters than letters, digits, '-', '.', '_' and '~'", write}
		}
	}
	return origin + path, problem{}
}

// parseOrigin normalises an address without a path.
func parseOrigin(raw string) (origin string, wrong problem) {
	u, wrong := parse(raw, writeProxyOrigin)
	if wrong.text != "" {
		return "", wrong
	}
	return bareOrigin(u, raw)
}

// parseProxy is parseOrigin for the proxy of a VaultConfig, with a remedy that fits.
func parseProxy(raw string) (origin string, wrong problem) {
	u, wrong := parse(raw, writeProxyOrigin)
	switch {
	case wrong.text != "":
		return "", wrong
	case u.User != nil:
		return "", problem{"holds a user name or password, which Sallyport does not send to proxies",
			"leave them out, and let the proxy know the controller by its address"}
	}
	return bareOrigin(u, raw)
}

// bareOrigin is originOf for an address that must have no path.
func bareOrigin(u *url.URL, raw string) (origin string, wrong problem) {
	if strings.Trim(u.Path, "/") != "" {
		return "", problem{fmt.Sprintf("has the path %q", u.Path), "leave it out"}
	}
	return originOf(u, raw, writeProxyOrigin)
}

const (
	hostCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-._:"
	pathCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)

func parse(raw, example string) (*url.URL, problem) {
	u, err := url.Parse(raw)
	if err != nil { // which quotes the URL
		return nil, problem{"cannot be parsed as a URL", example}
	}
	return u, problem{}
}

// originOf normalises the origin of an address: scheme and host in lower case, the scheme's own port left out. The path
// is its callers'.
func originOf(u *url.URL, raw, example string) (origin string, wrong problem) {
	switch {
	case u.User != nil:
		return "", problem{"holds a user name or password", "leave them out, spec.auth says who logs in"}
	case u.Scheme != "https" && u.Scheme != "http":
		return "", problem{"is no http or https URL", example}
	case u.Hostname() == "" || u.Opaque != "":
		return "", problem{"names no host", example}
	case u.RawQuery != "" || u.ForceQuery:
		return "", problem{"has a query", "leave out everything from the question mark on"}
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "", problem{"has a fragment", "leave out everything from the # on"}
	}
	host, port := strings.ToLower(u.Hostname()), strings.TrimLeft(u.Port(), "0")
	// Names and addresses as they are resolved, so that none looks like another's in a sentence or a metric.
	if strings.ContainsFunc(host, func(r rune) bool { return !strings.ContainsRune(hostCharacters, r) }) {
		return "", problem{"names a host with characters that no name in DNS has", "write its ASCII form (xn--…)"}
	}
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

// NamespacePath is a namespace of Vault as paths begin with it: without slashes around it, and empty for the root, with
// whose name no longer one begins.
func NamespacePath(namespace string) string {
	if path := strings.Trim(namespace, "/"); path != "root" {
		return path
	}
	return ""
}

// PathBelow is a path of a namespace of Vault as it is from one above, given by the way from there, which is empty for
// that one itself. No path is none there, too. Neither has slashes around it.
func PathBelow(way, path string) string {
	if way == "" || path == "" {
		return path
	}
	return way + "/" + path
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
