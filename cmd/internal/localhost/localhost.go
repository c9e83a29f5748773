// Package localhost knows what no packet leaves this host for.
package localhost

import "net"

// Is is true for localhost and for loopback addresses (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3). Other names
// are not resolved, and are false.
func Is(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
