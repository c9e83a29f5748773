package reconciler

import (
	"cmp"
	"net/netip"
	"slices"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/projections"
)

// workloads gives back what is kept for workloads that are gone or have become smaller. Addresses in a pool are not
// theirs to give back: a pool forces the policy never.
func (p *Plan) workloads(in Input) {
	if !in.knowsPods() {
		return // a source without pods need not have workloads either
	}
	for _, app := range in.changed() {
		if w := in.New.Workload(app); surplus(in.View, app, w) {
			p.add(app.String(), allocator.ChangeWorkload{Owner: app, Workload: w})
		}
	}
}

// changed are the workloads to look at, at app level: those that differ between the Sets, and for a full pass all that
// keep addresses.
func (in Input) changed() []ipam.Owner {
	apps := map[ipam.Owner]bool{}
	if in.Old != nil {
		for owner := range in.New.WorkloadsSince(in.Old) {
			apps[owner] = true
		}
	}
	if in.Full && in.New.KnowsPods() {
		for a := range in.View.Addresses(netip.Addr{}) {
			// A young address may be kept for a workload that is newer than the Set.
			if a.Owner.App != "" && kept(a) && a.Time().Before(in.New.AsOf()) {
				apps[a.Owner.AppLevel()] = true
			}
		}
	}
	sorted := make([]ipam.Owner, 0, len(apps))
	for owner := range apps {
		sorted = append(sorted, owner)
	}
	slices.SortFunc(sorted, func(a, b ipam.Owner) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.App, b.App))
	})
	return sorted
}

// kept reports whether an address waits for the next pod of a workload, as long as the workload wants it.
func kept(a *projections.Address) bool {
	return a.Policy == ipam.Immutable && a.PodUID == "" && a.Node == ""
}

// surplus reports whether a workload of this size keeps addresses too many, so that no command is given in vain.
func surplus(view *projections.View, app ipam.Owner, w allocator.Workload) bool {
	if w.Unknown {
		return false
	}
	held := view.Scope(app).Held
	for a := range view.Held(app) {
		if !kept(a) {
			continue
		}
		if !w.Exists || app.IsSet() && held > w.Replicas+w.Spare {
			return true
		}
		number, numbered := a.Owner.Ordinal()
		if !app.IsSet() && (!numbered || number < w.Start || number >= w.Start+w.Replicas) {
			return true
		}
	}
	return false
}
