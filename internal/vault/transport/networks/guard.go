// Package networks keeps the controller from connecting where no Vault is and where its own place in the network would
// open something: itself, the metadata service of a cloud, the API server. Whoever writes a VaultConfig or a VaultTask
// names an address, but what counts is where it leads: a name can resolve to anything, at every look-up to something
// else, and so can a proxy's. So the address is looked at that is dialled, when it is.
package networks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// closed networks are those in which nobody's Vault is. Private ones are open, those of the cluster too: Vault usually
// runs there.
var closed = prefixes(
	"0.0.0.0/8", "::/128", // this host, for Linux
	"127.0.0.0/8", "::1/128", // loopback
	"169.254.0.0/16", "fe80::/10", // link-local: metadata of most clouds, and of nodes
	"224.0.0.0/4", "255.255.255.255/32", "ff00::/8", // multicast, broadcast
	// Metadata of clouds that is not link-local: AWS and Google by IPv6, Alibaba, Azure, Oracle.
	"fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
)

// translated are the networks whose addresses hold an IPv4 address at their end: NAT64, IPv4-compatible, 6to4 aside.
var translated = prefixes("64:ff9b::/96", "::/96")

func prefixes(networks ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		parsed[i] = netip.MustParsePrefix(network)
	}
	return parsed
}

// ErrClosed is what a dial fails with that the guard refuses. It does not say the address: the author of a VaultConfig
// would learn what names mean inside the cluster.
type ErrClosed struct{}

// Error says that the guard refused.
func (ErrClosed) Error() string { return "its address is closed to the controller" }

// Guard decides where connections may lead. A nil one lets them lead everywhere.
type Guard struct {
	allowed, own []netip.Prefix
	// dial connects in place of a net.Dialer, unless it is nil.
	dial Dial
}

// Dial connects to an address, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewGuard returns a guard that opens the networks of an administrator's choice (10.0.0.0/8, or one address), and
// closes besides the usual ones the addresses that are this program's own or its API server's. Of the latter, those
// that are names or empty are left out.
func NewGuard(allowed, own []string) (*Guard, error) {
	g := &Guard{}
	for _, network := range allowed {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			address, err := netip.ParseAddr(network)
			if err != nil || address.Zone() != "" {
				return nil, fmt.Errorf("%q is no network; write one such as 127.0.0.0/8, or an address", network)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		g.allowed = append(g.allowed, prefix.Masked())
	}
	for _, address := range own {
		if parsed, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
			parsed = parsed.Unmap().WithZone("")
			g.own = append(g.own, netip.PrefixFrom(parsed, parsed.BitLen()))
		}
	}
	return g, nil
}

// Within returns a guard that keeps all connections within a network of its own, of which only dial knows: tests have
// one in memory. Proxies are not in it.
func Within(dial Dial) *Guard { return &Guard{dial: dial} }

// Dial returns what connects: the dialer, whose ControlContext is to be the guard's, or what the guard has in its
// place.
func (g *Guard) Dial(dialer *net.Dialer) Dial {
	if g != nil && g.dial != nil {
		return g.dial
	}
	return dialer.DialContext
}

// Control is for net.Dialer.ControlContext, which calls it with each address that a name was resolved to, before it is
// connected to.
func (g *Guard) Control(_ context.Context, _, address string, _ syscall.RawConn) error {
	if g == nil {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil || !g.open(to.Addr()) {
		return ErrClosed{}
	}
	return nil
}

func (g *Guard) open(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	within := func(network netip.Prefix) bool { return network.Contains(address) }
	switch {
	case slices.ContainsFunc(g.allowed, within):
		return true
	case slices.ContainsFunc(closed, within), slices.ContainsFunc(g.own, within):
		return false
	case slices.ContainsFunc(translated, within):
		bytes := address.As16()
		return g.open(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	return true
}
