package kube

import (
	"fmt"
	"strings"

	"galaxy/ipam"
)

// What is kept of an object is bounded, as whoever writes it would have us remember it: for each pod and node of a
// cluster, of a file, or of a request. This is the one rule for all of them, and it fails closed:
//
//   - A name that is too long is kept as far as it takes to be refused for its length. Its pod gets no address, and
//     what it has stays.
//   - An annotation that is too long is not kept, and its pod gets no address. What it says that the pod was given is
//     kept, so that nobody else gets that.
//   - Addresses of a pod's status are all kept that a kubelet can write. Those of a node that are too many it does not
//     have.
const (
	// MaxArgs bounds the annotation with a pod's requests and addresses, in bytes: 16 addresses need less than a tenth
	// of it.
	MaxArgs = 16 << 10
	// MaxPodIPs is how many addresses the status of a pod may have: as many as it may ask for. An API server takes one
	// of each family.
	MaxPodIPs = ipam.MaxRequestedIPs
	// MaxFurther is how many addresses of a node are kept beside the first internal one of each family: several times
	// what it may announce.
	MaxFurther = 4 * ipam.MaxNodeAddresses

	maxAnnotations = 256 << 10 // bytes: an API server takes no more in all annotations of an object
	maxProof       = 16 << 10  // bytes; one that is longer proves nothing
	maxPolicy      = 64
	unknownPolicy  = "too long"
)

// Bounded is the pod itself, after what it keeps was cut. Whoever makes a Pod from an object calls it before anybody
// sees the pod.
func (p *Pod) Bounded() *Pod {
	for _, name := range []*string{
		&p.Namespace, &p.Name, &p.UID, &p.Pool, &p.TemplateHash, &p.Node, &p.Phase,
		&p.Owner.APIVersion, &p.Owner.Kind, &p.Owner.Name,
	} {
		*name = bound(*name)
	}
	if len(p.ReleasePolicy) > maxPolicy {
		p.ReleasePolicy = unknownPolicy // any text that is no policy is the default one (contract section 2)
	}
	if len(p.Args) > MaxArgs {
		p.oversized = len(p.Args)
		if p.oversized <= maxAnnotations { // else no API server has it
			p.claimed = claimedIn(p.Args)
		}
		p.Args = ""
	}
	if len(p.Proof) > maxProof || !p.Wants {
		p.Proof = ""
	}
	return p
}

// check fails for a pod of which less was kept than it has. What its owner and its annotations say is checked where
// they are read: see OwnerOf and ParseArgs.
func (p *Pod) check() error {
	for _, name := range [...]struct{ at, text string }{
		{"spec.nodeName", p.Node}, {"status.phase", p.Phase},
		{"metadata.labels[" + LabelTemplateHash + "]", p.TemplateHash},
	} {
		if err := checkLength(name.at, name.text); err != nil {
			return err
		}
	}
	if len(p.IPs) > MaxPodIPs {
		return fmt.Errorf("status.podIPs: more than %d addresses; a kubelet writes one of each family", MaxPodIPs)
	}
	return nil
}

// Bounded is the node itself, after what it keeps was cut. Whoever makes a Node from an object calls it before anybody
// sees the node.
func (n *Node) Bounded() *Node {
	n.Name, n.UID, n.Capacity = bound(n.Name), bound(n.UID), bound(n.Capacity)
	return n
}

// check fails for a node whose names were cut.
func (n *Node) check() error {
	if err := checkLength("metadata.name", n.Name); err != nil {
		return err
	}
	return checkLength("metadata.uid", n.UID)
}

// bound keeps of a name as much as it takes to be refused for its length.
func bound(name string) string {
	if len(name) <= ipam.MaxName {
		return name
	}
	return strings.Clone(name[:ipam.MaxName+1])
}

func checkLength(at, name string) error {
	if len(name) > ipam.MaxName {
		return fmt.Errorf("%s: it has more than %d bytes; make it shorter", at, ipam.MaxName)
	}
	return nil
}
