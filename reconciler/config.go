package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	"galaxy/allocator"
	"galaxy/ipam"
)

// configure puts the subnets of the ConfigMap in force if they differ from those that are. A ConfigMap that is absent
// or bad changes nothing.
func (p *Plan) configure(in Input, rules Rules) {
	data, ok := in.New.ConfigMap(rules.ConfigNamespace, rules.ConfigName)
	if !ok {
		return
	}
	source := fmt.Sprintf("ConfigMap %s/%s", rules.ConfigNamespace, rules.ConfigName)
	text, ok := data[rules.ConfigKey]
	if in.Old != nil && !in.Full {
		// The same text need not be parsed for every pod that changes. If it was refused, it is tried with the next
		// full pass.
		if before, was := in.Old.ConfigMap(rules.ConfigNamespace, rules.ConfigName); was && ok &&
			before[rules.ConfigKey] == text && before[AnnotationForce] == data[AnnotationForce] {
			return
		}
	}
	p.Configured = true
	if !ok {
		p.badConfig(fmt.Errorf("%s has no key %s", source, rules.ConfigKey))
		return
	}
	subnets, err := ipam.ParseConfig([]byte(text))
	if err != nil {
		p.badConfig(fmt.Errorf("%s: %w", source, err))
		return
	}
	if current := in.View.Config(); current.Seq != 0 && slices.EqualFunc(current.Subnets, subnets, sameSubnet) {
		p.InForce = current.Seq
		return
	}
	p.add(source, allocator.Configure{Source: source, Subnets: subnets, Force: rules.ForceConfig ||
		data[AnnotationForce] == forceFor(text)})
}

// AnnotationForce is an annotation on the ConfigMap which says that held addresses that its subnets drop are to be
// drained. It stands beside the ConfigMap's data, whose keys have no slash. Its value is of the very text that it is
// meant for, so that it is of no use to the next one.
const AnnotationForce = "galaxy.k8s.io/force"

// forceFor is the value of AnnotationForce for a text.
func forceFor(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// howToForce says how a refused change can be forced, once.
func howToForce(rules Rules, text string) string {
	return fmt.Sprintf("to drain them: kubectl -n %s annotate --overwrite configmap %s %s=%s (it is good for this "+
		"text alone)", rules.ConfigNamespace, rules.ConfigName, AnnotationForce, forceFor(text))
}

func (p *Plan) badConfig(err error) {
	p.BadConfig = err
	p.fail(err)
}

func sameSubnet(a, b ipam.Subnet) bool {
	return a.Prefix == b.Prefix && a.Gateway == b.Gateway && a.VLAN == b.VLAN &&
		slices.Equal(a.Ranges, b.Ranges) && slices.EqualFunc(a.NodeNetworks, b.NodeNetworks,
		func(x, y netip.Prefix) bool { return x == y })
}

// pools makes the pools as large as their objects say. Only a pool whose object was there and is gone is deleted: the
// others were made by REST.
func (p *Plan) pools(in Input) {
	for pool := range in.New.Pools() {
		current := in.View.Pool(pool.Name)
		if current == nil || current.Size != pool.Size || current.PreAllocate != pool.PreAllocate {
			p.add("Pool "+pool.Name, allocator.SizePool{Pool: pool.Name, Size: pool.Size,
				PreAllocate: pool.PreAllocate})
		}
	}
	if in.Old == nil {
		return
	}
	for pool := range in.Old.Pools() {
		if _, still := in.New.Pool(pool.Name); !still && in.View.Pool(pool.Name) != nil {
			p.add("Pool "+pool.Name, allocator.DeletePool{Pool: pool.Name})
		}
	}
}
