package rest

import (
	"net/netip"
	"strings"
	"time"

	"galaxy/extender"
	"galaxy/extender/api"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

const (
	statusDeleted = "Deleted"
	statusUnknown = "Unknown"
)

// reader makes rows out of one view and one cluster.
type reader struct {
	view    *projections.View
	cluster extender.Cluster
	now     time.Time
	delay   time.Duration
}

func (rest *REST) reader() reader {
	env := rest.Replica.Env()
	return reader{view: rest.Replica.View(), cluster: extender.ClusterOf(rest.Cluster), now: env.Now,
		delay: env.Rules.ReuseDelay}
}

// row is an address, held or free.
func (r reader) row(addr netip.Addr) api.AddressRow {
	if a := r.view.Address(addr); a != nil {
		return r.held(a)
	}
	row := api.AddressRow{IP: addr.String(), State: "free", Subnet: r.subnet(addr), UpdateTime: r.view.Config().Time}
	if released := r.view.Released(addr); released != nil {
		row.Seq, row.UpdateTime = released.Seq, released.Time()
		if released.Cools(r.now, r.delay) {
			row.State = "cooling"
		}
	}
	return row
}

func (r reader) held(a *projections.Address) api.AddressRow {
	row := api.AddressRow{
		IP: a.Addr.String(), Namespace: a.Owner.Namespace, AppName: a.Owner.App, PodName: a.Owner.Pod,
		PoolName: a.Owner.Pool,
		Policy:   uint16(a.Policy), AppType: a.Owner.Kind, UpdateTime: a.Time(),
		State: a.State(), Node: a.Node, PodUID: a.PodUID, Subnet: r.subnet(a.Addr), Seq: a.Seq,
	}
	row.Status, row.Releasable = r.status(a)
	return row
}

func (r reader) subnet(addr netip.Addr) string {
	if i, ok := r.view.Config().SubnetOf(addr); ok {
		return r.view.Config().Subnets[i].Prefix.String()
	}
	return ""
}

// status says what has become of the pod that an address is held for, and whether an administrator may release it: not
// while the pod is there, and not while nobody knows. One that drains and that no pod uses is of no use to the pod of
// its name, which may wait for another.
func (r reader) status(a *projections.Address) (status string, releasable bool) {
	owner := a.Owner
	switch {
	case owner.IsZero():
		return "", false
	case owner.Pod == "":
		return statusDeleted, true
	case !r.cluster.KnowsPods():
		return statusUnknown, false
	}
	pod := r.cluster.Pod(owner.Namespace, owner.Pod)
	if pod == nil {
		return statusDeleted, true
	}
	return phaseOf(pod), a.Draining && a.Node == "" && a.PodUID == ""
}

func phaseOf(pod *kube.Pod) string {
	if pod.Phase == "" {
		return statusUnknown
	}
	return pod.Phase
}

// ownerNamed is whom the fields name. The reference writes NULL for the workload of a pod that has none.
func ownerNamed(f api.OwnerFields) ipam.Owner {
	o := ipam.Owner{Namespace: f.Namespace, App: f.AppName, Pod: f.PodName, Pool: f.PoolName}
	if o.App == "NULL" && (f.AppType == "" || strings.EqualFold(f.AppType, "NULL")) {
		o.App = ""
	}
	if o.App != "" {
		o.Kind = ipam.KindOfAppType(f.AppType)
	}
	if o.App == "" && o.Pod == "" {
		o.Namespace = ""
	}
	return o
}

// means reports whether the fields mean this owner. A bare ReplicaSet is named by its own type, which otherwise means
// the Deployment above it.
func means(f api.OwnerFields, owner ipam.Owner) bool {
	named := ownerNamed(f)
	if named == owner {
		return true
	}
	named.Kind = ipam.KindReplicaSet
	return owner.Kind == ipam.KindReplicaSet && isReplicaSet(f.AppType) && named == owner
}

func isReplicaSet(appType string) bool {
	t := strings.ToLower(appType)
	return t == "replicaset" || t == "replicasets"
}
