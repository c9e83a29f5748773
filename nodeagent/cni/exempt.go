package cni

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"galaxy/plugins"
)

// exempt are the addresses of containers that are not masqueraded. The containers' states have them too, so that an
// agent knows them again.
type exempt struct {
	mu sync.Mutex
	of map[string][]netip.Addr
}

// set says which addresses of a container are not masqueraded, and reports whether that is news.
func (e *exempt) set(containerID string, addresses []netip.Addr) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed = !slices.Equal(e.of[containerID], addresses)
	if e.of == nil {
		e.of = map[string][]netip.Addr{}
	}
	if len(addresses) == 0 {
		delete(e.of, containerID)
	} else {
		e.of[containerID] = addresses
	}
	return changed
}

// Exempt are the addresses of all containers that are not masqueraded.
func (s *Server) Exempt() []netip.Addr {
	s.exempt.mu.Lock()
	defer s.exempt.mu.Unlock()
	var all []netip.Addr
	for _, addresses := range s.exempt.of {
		all = append(all, addresses...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// exemptOf are those of a container's addresses.
func exemptOf(all []Attachment) []netip.Addr {
	var addresses []netip.Addr
	for _, a := range all {
		if !a.Exempt || a.Result == nil {
			continue
		}
		for _, ip := range a.Result.IPs {
			if addr := plugins.Prefix(ip.Address).Addr(); addr.IsValid() {
				addresses = append(addresses, addr)
			}
		}
	}
	return addresses
}

// readExempt knows again what an earlier life has exempted.
func (s *Server) readExempt() {
	known, err := s.state.containers(time.Time{})
	for _, id := range known {
		unread := s.guard.do(id, func() error {
			all, _, err := s.state.load(id)
			if err == nil {
				s.exempt.set(id, exemptOf(all))
			}
			return err
		})
		if unread != nil {
			err = unread
		}
	}
	if err != nil {
		s.Log.Warn("not all states of containers can be read; those addresses are masqueraded whatever their pods say",
			zap.Error(err))
	}
}
