package kube

import (
	"net/netip"
	"slices"

	"galaxy/ipam"
)

// Shown is an address that a pod on a node shows as its own.
type Shown struct {
	Addr netip.Addr
	// ByKubelet says that the pod's status names it. Otherwise only its annotation does, which whoever may write the
	// pod can write, too.
	ByKubelet bool
}

// Shows are the addresses that the pod shows: those of its status, and those that its args annotation says it was
// given, as far as it may ask for them: one, or with ranges one of each element. A pod that is on no node or has
// finished shows none, nor does one on its host's network. Status comes first.
func (p *Pod) Shows() []Shown {
	if p.Node == "" || p.Finished() || p.HostNetwork {
		return nil
	}
	shown := make([]Shown, 0, len(p.IPs)+1)
	for _, addr := range p.IPs {
		shown = append(shown, Shown{addr, true})
	}
	for _, addr := range p.annotated() {
		if !slices.Contains(p.IPs, addr) {
			shown = append(shown, Shown{addr, false})
		}
	}
	return shown
}

// annotated are the addresses that the annotation says the pod was given, also where it is too long to be kept.
func (p *Pod) annotated() []netip.Addr {
	switch {
	case !p.Wants:
		return nil
	case p.oversized > 0:
		return p.claimed
	default:
		return claimedIn(p.Args)
	}
}

// claimedIn are the addresses that the text of an args annotation says a pod was given, as far as it may ask for them:
// MaxRequestedIPs at most.
func claimedIn(text string) []netip.Addr {
	if text == "" {
		return nil
	}
	args, err := ipam.ParsePodArgs(text)
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for i, info := range args.IPInfos {
		if i >= max(1, len(args.Ranges)) {
			break
		}
		addr := info.IP.Addr()
		if !addr.IsValid() || slices.Contains(addrs, addr) {
			continue
		}
		if len(args.Ranges) > 0 && !slices.ContainsFunc(args.Ranges[i],
			func(r ipam.Range) bool { return r.Contains(addr) }) {
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs
}
