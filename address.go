package slotmesh

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// isUnspecified reports whether host means "every address of this machine".
func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// firstReachable picks the address that other machines are likely to reach: the
// first private one, else the first that is not loopback, IPv4 before IPv6;
// else loopback.
func firstReachable(addrs []netip.Addr) string {
	var ranks [4]netip.Addr
	for _, ip := range addrs {
		if ip.IsLoopback() || !ip.IsGlobalUnicast() {
			continue
		}
		rank := 0
		if !ip.IsPrivate() {
			rank += 2
		}
		if !ip.Is4() {
			rank++
		}
		if !ranks[rank].IsValid() {
			ranks[rank] = ip
		}
	}
	for _, ip := range ranks {
		if ip.IsValid() {
			return ip.String()
		}
	}
	return "127.0.0.1"
}

func interfaceAddrs() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range found {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap())
		}
	}
	return addrs
}

// withPort adds port to a seed that has none.
func withPort(seed, port string) string {
	if _, _, err := net.SplitHostPort(seed); err == nil {
		return seed
	}
	return net.JoinHostPort(strings.Trim(seed, "[]"), port)
}

// validHostPort reports whether hostport is a host, maybe empty, and a port
// from low to 65535. Several in one string are none: they would be looked up for ever.
func validHostPort(hostport string, low int) bool {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || strings.ContainsAny(host, " \t\r\n/,;") {
		return false
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Contains(host, ":") {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && low <= n && n <= 65535
}

// validSeed reports whether seed is host:port or a host alone.
func validSeed(seed string) bool {
	host, _, _ := net.SplitHostPort(withPort(seed, defaultPort))
	return host != "" && validHostPort(withPort(seed, defaultPort), 1)
}
