package proofs

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

// unproven is a pod that runs with addresses of the log, and does not prove them.
type unproven struct {
	pod   *kube.Pod
	infos []ipam.IPInfo
}

// unprovenPods are the pods whose proof an agent would refuse, though they show just what the log says: it was signed
// by a key that is gone, of a former generation, or never. A pod that shows something else is left to its author; its
// agent refuses it.
func unprovenPods(pods iter.Seq[*kube.Pod], view *projections.View, ring proof.Ring) (all []unproven) {
	generation := view.Position().Head.Generation
	for pod := range pods {
		if pod.Node == "" || pod.Finished() || !pod.Wants {
			continue
		}
		infos := bound(view, pod)
		if len(infos) == 0 {
			continue
		}
		if _, err := ring.Verify(proof.Claim{Proof: pod.Proof, IPs: infos, PodUID: pod.UID, Node: pod.Node,
			Generation: generation}); err != nil {
			all = append(all, unproven{pod, infos})
		}
	}
	return all
}

// bound is what the log says of the addresses that a pod shows, in the order in which it shows them; nil unless they are
// just those that it has.
func bound(view *projections.View, pod *kube.Pod) []ipam.IPInfo {
	args, err := pod.ParseArgs()
	if err != nil || len(args.IPInfos) == 0 {
		return nil
	}
	owner, err := kube.OwnerOf(pod)
	if err != nil {
		return nil
	}
	var held []netip.Addr
	for a := range view.Held(owner) {
		if a.PodUID == pod.UID && a.Node == pod.Node {
			held = append(held, a.Addr)
		}
	}
	if len(held) != len(args.IPInfos) {
		return nil
	}
	infos := make([]ipam.IPInfo, len(args.IPInfos))
	for i, shown := range args.IPInfos {
		subnet, configured := view.Config().SubnetOf(shown.IP.Addr())
		if !configured || !slices.Contains(held, shown.IP.Addr()) {
			return nil
		}
		s := view.Config().Subnets[subnet]
		infos[i] = ipam.IPInfo{IP: netip.PrefixFrom(shown.IP.Addr(), s.Prefix.Bits()), VLAN: s.VLAN, Gateway: s.Gateway}
	}
	return infos
}

// How long a key is kept that no pod shows: a pod that was bound a moment ago may not be known yet.
const (
	keyUnusedFor = 10 * time.Minute
	keyAge       = time.Hour
)

// spareKeys are keys that nobody needs any more: no pod has shown a proof by one for a while, and no process signs with
// it. unused is since when each key is not shown; it is brought up to date.
func spareKeys(keys keyring.Keys, pods iter.Seq[*kube.Pod], own string, unused map[string]time.Time,
	now time.Time) (spare []string) {
	shown := map[string]bool{own: true}
	for pod := range pods {
		if pod.Proof != "" {
			shown[proof.KeyOf(pod.Proof)] = true
		}
	}
	for id := range unused {
		if _, there := keys[id]; !there || shown[id] {
			delete(unused, id)
		}
	}
	for id, key := range keys {
		if shown[id] {
			continue
		}
		if _, known := unused[id]; !known {
			unused[id] = now
		}
		if now.Sub(unused[id]) >= keyUnusedFor && now.Sub(key.Since) >= keyAge {
			spare = append(spare, id)
		}
	}
	slices.Sort(spare)
	return spare
}
