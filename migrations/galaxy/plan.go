package galaxy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// Verdict is what becomes of an object.
type Verdict string

// The verdicts.
const (
	Take  Verdict = "take"  // the log takes it over
	Known Verdict = "known" // the log has it already
	Leave Verdict = "leave" // it cannot be taken over, and is left as it is; Why says the reason
)

// Item is an object and what becomes of it.
type Item struct {
	Kind    string  `json:"kind"` // FloatingIP or Pool
	Name    string  `json:"name"`
	Key     string  `json:"key,omitempty"` // whom the object holds the address for
	Policy  string  `json:"policy,omitempty"`
	State   string  `json:"state,omitempty"` // in use, kept, or reserved by label
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`

	command allocator.Command // of Take
}

// Plan is what becomes of each object: FloatingIPs by address, then Pools by name.
type Plan struct {
	Items []Item `json:"items"`
}

// Count is how many items have a verdict.
func (p Plan) Count(v Verdict) int {
	n := 0
	for _, item := range p.Items {
		if item.Verdict == v {
			n++
		}
	}
	return n
}

// Cluster is what a plan knows of the cluster's present; *objects.Set is one.
type Cluster interface {
	allocator.Occupants
	Pod(namespace, name string) *kube.Pod
	Workload(owner ipam.Owner) allocator.Workload
}

// PoolNamespaces are those in which Pool objects count.
type PoolNamespaces []string

// Decide plans what becomes of each object, under the subnets in force and what the log holds already. It is pure, and
// a second plan after the first was carried out takes nothing.
func Decide(objects Objects, view *projections.View, cluster Cluster, pools PoolNamespaces) Plan {
	var p Plan
	for _, f := range objects.FloatingIPs {
		p.Items = append(p.Items, decideFloatingIP(f, view, cluster))
	}
	slices.SortStableFunc(p.Items, func(a, b Item) int {
		x, _ := api.AddressOf(a.Name)
		y, _ := api.AddressOf(b.Name)
		return cmp.Or(x.Compare(y), cmp.Compare(a.Name, b.Name))
	})
	held := heldAfter(p.Items, view)
	sorted := slices.SortedFunc(slices.Values(objects.Pools), func(a, b *api.Pool) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	for _, pool := range sorted {
		p.Items = append(p.Items, decidePool(pool, view, held[pool.Name], pools))
	}
	return p
}

func decideFloatingIP(f *api.FloatingIP, view *projections.View, cluster Cluster) Item {
	item := Item{Kind: "FloatingIP", Name: f.Name, Key: f.Spec.Key, Policy: policyText(f.Spec.Policy)}
	leave := func(format string, args ...any) Item {
		item.Verdict, item.Why = Leave, fmt.Sprintf(format, args...)
		return item
	}
	command, err := readFloatingIP(f, cluster)
	if err != nil {
		return leave("%v", err)
	}
	item.State = stateOf(command)
	if command.Policy == ipam.ReleaseOnDelete && item.State == "kept" {
		return leave("policy 0 gives the address back with its pod, and no pod has it")
	}
	if a := view.Address(command.Address); a != nil && a.Owner == command.Owner && a.Labelled == command.Labelled {
		item.Verdict = Known
		return item
	}
	if givenBack(view, command.Address) {
		item.Verdict, item.Why = Known, "given back since; its object is about to go"
		return item
	}
	_, _, err = allocator.Decide(view, command, allocator.Env{MaxEvents: 1, Occupants: cluster})
	var holder *allocator.HolderError
	switch {
	case errors.As(err, &holder):
		return leave("%v, which was recorded since", err)
	case err != nil:
		return leave("%v", err)
	}
	item.Verdict, item.command = Take, command
	if key := command.Owner.String(); key != f.Spec.Key {
		item.Why = "as " + key
	}
	return item
}

// givenBack reports whether the log has let an address go after it was said what the objects mean: an object that still
// shows it is late.
func givenBack(view *projections.View, addr netip.Addr) bool {
	resolved, released := view.Origin().Resolved, view.Released(addr)
	return resolved != 0 && released != nil && released.At >= resolved
}

func policyText(n int32) string {
	if n < 0 || n > 2 {
		return fmt.Sprintf("%d", n)
	}
	return ipam.Policy(n).String()
}

func stateOf(c allocator.Import) string {
	switch {
	case c.Labelled:
		return "reserved by label"
	case c.Node != "":
		return "in use"
	default:
		return "kept"
	}
}

// readFloatingIP is what an object says, in our words. Where it stands for a pod that is on no node, the pod has not
// been bound: the address is kept for its name, or where pods' names do not come back, for its app or pool.
func readFloatingIP(f *api.FloatingIP, cluster Cluster) (allocator.Import, error) {
	c := allocator.Import{Labelled: f.IsReservation(), Policy: ipam.Policy(f.Spec.Policy)}
	var ok bool
	if c.Address, ok = api.AddressOf(f.Name); !ok {
		return c, errors.New("its name is no IP address")
	}
	if f.Spec.Policy < 0 || f.Spec.Policy > 2 {
		return c, fmt.Errorf("policy %d: want 0, 1 or 2", f.Spec.Policy)
	}
	owner, err := ipam.ParseOwner(f.Spec.Key)
	if err != nil {
		return c, err
	}
	if owner.IsZero() {
		return c, errors.New("its key is empty, so it is held for nobody")
	}
	c.Owner = known(owner, cluster)
	attribute := api.Attribute{}
	if f.Spec.Attribute != "" {
		if err := json.Unmarshal([]byte(f.Spec.Attribute), &attribute); err != nil {
			return c, fmt.Errorf("attribute %.80q: %w", f.Spec.Attribute, err)
		}
	}
	switch {
	case c.Labelled || !c.Owner.IsPod():
	case attribute.NodeName != "":
		c.Node, c.PodUID = attribute.NodeName, attribute.UID
		// older objects have no uid
		if pod := cluster.Pod(c.Owner.Namespace, c.Owner.Pod); pod != nil && c.PodUID == "" {
			c.PodUID = pod.UID
		}
	case c.Owner.IsSet():
		c.Owner = c.Owner.Scope()
	}
	return c, nil
}

// known is an owner as this release names it: the reference took a bare ReplicaSet for a Deployment.
func known(owner ipam.Owner, cluster Cluster) ipam.Owner {
	bare := owner
	bare.Kind = ipam.KindReplicaSet
	if owner.Kind == ipam.KindDeployment && !cluster.Workload(owner).Exists && cluster.Workload(bare).Exists {
		return bare
	}
	return owner
}

// heldAfter counts what each pool holds once the plan is carried out, and what of it is only reserved.
func heldAfter(items []Item, view *projections.View) map[string]projections.Scope {
	held := map[string]projections.Scope{}
	add := func(o ipam.Owner) {
		if o.Pool == "" {
			return
		}
		scope := held[o.Pool]
		scope.Held++
		if o == (ipam.Owner{Pool: o.Pool}) {
			scope.Reserved++
		}
		held[o.Pool] = scope
	}
	for a := range view.Addresses(netip.Addr{}) {
		add(a.Owner)
	}
	for _, item := range items {
		if c, ok := item.command.(allocator.Import); ok {
			add(c.Owner)
		}
	}
	return held
}

func decidePool(pool *api.Pool, view *projections.View, held projections.Scope, namespaces PoolNamespaces) Item {
	item := Item{Kind: "Pool", Name: pool.Name, Verdict: Take}
	if pool.Namespace != "" && !slices.Contains(namespaces, pool.Namespace) {
		item.Verdict, item.Why = Leave, fmt.Sprintf("it is in namespace %s, and only pools in %v count", pool.Namespace,
			[]string(namespaces))
		return item
	}
	if now := view.Pool(pool.Name); now != nil && now.Size == int(pool.Size) && now.PreAllocate == pool.PreAllocateIP {
		item.Verdict = Known
		return item
	}
	if over := min(held.Held-int(pool.Size), held.Reserved); over > 0 {
		item.Why = fmt.Sprintf("its size of %d is below the %d addresses that it holds: %d that no pod uses are "+
			"given back; raise the size first if it should keep them", pool.Size, held.Held, over)
	}
	item.command = allocator.SizePool{Pool: pool.Name, Size: int(pool.Size), PreAllocate: pool.PreAllocateIP}
	return item
}
