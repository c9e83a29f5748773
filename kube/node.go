package kube

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/ipam"
	"galaxy/kube/stream"
)

// Node is a node as far as addresses are concerned. It never changes once made. What is kept of one is bounded: see
// Bounded.
type Node struct {
	Name, UID string
	// IPs are its internal addresses: the first of each family, in their order. Empty if it has none.
	IPs []netip.Addr
	// Further are the other addresses that its status has, internal and external ones, as far as there is room for
	// them.
	Further []netip.Addr

	// OutOfService says that somebody has put the taint node.kubernetes.io/out-of-service on it: nothing runs there any
	// more.
	OutOfService bool
	// Ready says that its kubelet reports, and takes pods.
	Ready bool
	// Capacity is how much of ResourceIP the node says that it has, in decimal digits; "" if it says nothing.
	Capacity string
}

// DecodeNode reads one Node object.
func DecodeNode(text []byte) (*Node, error) {
	dec := stream.New(text)
	node, err := ReadNode(dec)
	if err != nil {
		return nil, err
	}
	return node, stream.End(dec)
}

// ReadNode reads the Node object that comes next; nil for null. A node without a name is an error, and so is one whose
// name or uid is too long. An address that is no IP address is passed over, as a node may announce anything.
func ReadNode(dec *jsontext.Decoder) (*Node, error) {
	if dec.PeekKind() == 'n' {
		return nil, stream.Skip(dec)
	}
	node := new(Node)
	err := stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case "metadata":
			return stream.Object(dec, func(name []byte) error {
				switch string(name) {
				case "name":
					return stream.Text(dec, &node.Name)
				case "uid":
					return stream.Text(dec, &node.UID)
				}
				return stream.Skip(dec)
			})
		case "spec":
			return stream.Object(dec, func(name []byte) error {
				if string(name) == "taints" {
					return stream.Array(dec, func() error { return node.readTaint(dec) })
				}
				return stream.Skip(dec)
			})
		case "status":
			return stream.Object(dec, func(name []byte) error {
				if string(name) == "addresses" {
					return stream.Array(dec, func() error { return node.readAddress(dec) })
				}
				return stream.Skip(dec)
			})
		}
		return stream.Skip(dec)
	})
	if err == nil && node.Name == "" {
		err = fmt.Errorf("metadata.name is missing")
	}
	if err == nil {
		err = node.Bounded().check()
	}
	if err != nil {
		return nil, err
	}
	return node, nil
}

// readTaint notes the one taint that matters.
func (n *Node) readTaint(dec *jsontext.Decoder) error {
	return stream.Object(dec, func(name []byte) error {
		if string(name) != "key" {
			return stream.Skip(dec)
		}
		key, err := stream.Bytes(dec)
		n.OutOfService = n.OutOfService || string(key) == TaintOutOfService
		return err
	})
}

func (n *Node) readAddress(dec *jsontext.Decoder) error {
	internal := false
	var addr netip.Addr
	err := stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case "type":
			kind, err := stream.Bytes(dec)
			internal = string(kind) == "InternalIP"
			return err
		case "address":
			text, err := stream.Bytes(dec)
			if err == nil {
				addr, _ = ipam.ParseAddr(string(text)) // the zero Addr, as for a node without addresses
			}
			return err
		}
		return stream.Skip(dec)
	})
	if err != nil || !addr.IsValid() {
		return err
	}
	n.AddAddress(addr, internal)
	return nil
}

// AddAddress adds an address to a node that is being made. The first internal one of each family is kept wherever it
// stands; of the others MaxFurther are. The node does not have what was left out, so that no agent gets a route for it.
func (n *Node) AddAddress(addr netip.Addr, internal bool) {
	sameFamily := func(known netip.Addr) bool { return known.Is4() == addr.Is4() }
	switch {
	case internal && !slices.ContainsFunc(n.IPs, sameFamily):
		n.IPs = append(n.IPs, addr)
	case len(n.Further) < MaxFurther && !n.Has(addr):
		n.Further = append(n.Further, addr)
	}
}

// Has reports whether the node's status has an address.
func (n *Node) Has(addr netip.Addr) bool {
	return slices.Contains(n.IPs, addr) || slices.Contains(n.Further, addr)
}
