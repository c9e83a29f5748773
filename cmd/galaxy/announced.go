package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"go.uber.org/zap"

	"galaxy/durable"
	"galaxy/kernel"
)

// announced are the addresses at which other nodes reach this one. They are kept, so that they change only when they
// are gone from this host or somebody gives others.
type announced struct {
	given []netip.Addr
	file  string
	host  func(context.Context) ([]kernel.HostAddress, error)
	log   *zap.Logger

	mu   sync.Mutex
	last []netip.Addr // as in the file
}

func openAnnounced(given []netip.Addr, stateDir string, host func(context.Context) ([]kernel.HostAddress, error),
	log *zap.Logger) *announced {
	a := &announced{given: given, file: filepath.Join(stateDir, "addresses.json"), host: host, log: log}
	text, err := os.ReadFile(a.file)
	if err == nil {
		err = json.Unmarshal(text, &a.last)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the addresses that this node had before are not known", zap.Error(fmt.Errorf("%s: %w", a.file, err)))
	}
	return a
}

// addresses are those of now.
func (a *announced) addresses() []netip.Addr {
	if len(a.given) > 0 {
		return a.given
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	host, err := a.host(context.Background())
	if err != nil {
		return a.last
	}
	chosen := chooseAddresses(host, leavingFrom(), a.last)
	if len(chosen) == 0 || slices.Equal(chosen, a.last) {
		return a.last
	}
	a.log.Info("other nodes reach this one at these addresses; --node-ip gives others",
		zap.Stringers("addresses", chosen), zap.Stringers("before", a.last))
	a.last = chosen
	text, err := json.Marshal(chosen)
	if err == nil {
		err = durable.WriteFile(a.file, text, 0o600)
	}
	if err != nil {
		a.log.Warn("the node's addresses are not kept for its next start", zap.Error(err))
	}
	return a.last
}

// Addresses of documentation (RFC 5737, RFC 3849): nothing is sent there, but the kernel says from where it would.
var somewhere = map[string]string{"udp4": "192.0.2.1:9", "udp6": "[2001:db8::1]:9"}

// leavingFrom are the addresses that packets to elsewhere leave from, one of a family.
func leavingFrom() []netip.Addr {
	var found []netip.Addr
	for _, network := range []string{"udp4", "udp6"} {
		if conn, err := net.Dial(network, somewhere[network]); err == nil {
			if at, ok := conn.LocalAddr().(*net.UDPAddr); ok {
				found = append(found, at.AddrPort().Addr().Unmap())
			}
			_ = conn.Close() // nothing was sent
		}
	}
	return found
}

// chooseAddresses chooses one address of each family, IPv4 first. An address that the host had before and still has
// stays. Otherwise it is that of the default route, or of another link to the outside: that of the other family's
// default route before all others. An address that goes away by itself, and one of a link for what runs on this host,
// is nobody's way here: where there is only such a one the family has none.
func chooseAddresses(host []kernel.HostAddress, leaving, last []netip.Addr) []netip.Addr {
	usable := slices.DeleteFunc(slices.Clone(host), func(h kernel.HostAddress) bool {
		return h.Passing || h.Inner && !onLinkOf(host, h.Link, leaving)
	})
	var chosen []netip.Addr
	for _, six := range []bool{false, true} {
		if addr := chooseOf(six, usable, host, leaving, last); addr.IsValid() {
			chosen = append(chosen, addr)
		}
	}
	return chosen
}

func chooseOf(six bool, usable, host []kernel.HostAddress, leaving, last []netip.Addr) netip.Addr {
	mine := slices.DeleteFunc(slices.Clone(usable), func(h kernel.HostAddress) bool { return h.Addr.Is6() != six })
	preferences := []func(kernel.HostAddress) bool{
		func(h kernel.HostAddress) bool { return slices.Contains(last, h.Addr) },
		func(h kernel.HostAddress) bool { return slices.Contains(leaving, h.Addr) },
		func(h kernel.HostAddress) bool { return onLinkOf(host, h.Link, leaving) },
		func(kernel.HostAddress) bool { return true },
	}
	for _, preferred := range preferences {
		if i := slices.IndexFunc(mine, preferred); i >= 0 {
			return mine[i].Addr
		}
	}
	return netip.Addr{}
}

// onLinkOf is true for a link that has one of some addresses.
func onLinkOf(host []kernel.HostAddress, link string, addresses []netip.Addr) bool {
	return slices.ContainsFunc(host, func(h kernel.HostAddress) bool {
		return h.Link == link &&
			slices.Contains(addresses, h.Addr)
	})
}
