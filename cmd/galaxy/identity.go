package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// machineID is a word that no other machine has, and that this one keeps.
func machineID(given, stateDir string) (string, error) {
	if given != "" {
		return given, nil
	}
	if text, err := os.ReadFile("/etc/machine-id"); err == nil && strings.TrimSpace(string(text)) != "" {
		return strings.TrimSpace(string(text)), nil
	}
	file := filepath.Join(stateDir, "machine-id")
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return string(text), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("machine id: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("machine id: %w", err)
	}
	return id, nil
}

// bootID is the kernel's word for this boot of this machine; "" where it has none.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Addresses of documentation (RFC 5737, RFC 3849): nothing is sent there, but the kernel says from where it would.
var somewhere = map[string]string{"udp4": "192.0.2.1:9", "udp6": "[2001:db8::1]:9"}

// ownAddresses are where other nodes reach this one: as given, else those that the default routes leave from, else the first
// that is no loopback, of each family.
func ownAddresses(given []netip.Addr) []netip.Addr {
	if len(given) > 0 {
		return given
	}
	var found []netip.Addr
	for _, network := range []string{"udp4", "udp6"} {
		if conn, err := net.Dial(network, somewhere[network]); err == nil {
			if at, ok := conn.LocalAddr().(*net.UDPAddr); ok {
				found = append(found, at.AddrPort().Addr().Unmap())
			}
			_ = conn.Close() // nothing was sent
		}
	}
	if len(found) > 0 {
		return found
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return []netip.Addr{p.Addr().Unmap()}
		}
	}
	return nil
}
