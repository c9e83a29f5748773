package proof

import (
	"encoding/json"
	"errors"
	"fmt"

	"galaxy/ipam"
)

// MaxText is how long a proof may be, in bytes: room for as many addresses as a pod may have.
const MaxText = 16 << 10

// kind is the header "typ" of a proof, so that no other signature by the same key passes for one.
const kind = "galaxy-binding"

// Binding is what the log says: a pod has these addresses on this node.
type Binding struct {
	Generation string        `json:"generation"` // of the log
	Seq        uint64        `json:"seq"`        // the event as of which it is true
	PodUID     string        `json:"podUID"`
	Node       string        `json:"node"`
	IPs        []ipam.IPInfo `json:"ips"` // in the order in which the pod asked for them
}

func (b Binding) check() error {
	switch {
	case b.Generation == "":
		return errors.New("it names no generation of the log")
	case b.PodUID == "":
		return errors.New("it names no pod")
	case b.Node == "":
		return errors.New("it names no node")
	case len(b.IPs) == 0:
		return errors.New("it has no address")
	}
	for _, info := range b.IPs {
		if !info.IP.IsValid() {
			return errors.New("an address of it is none")
		}
	}
	return nil
}

func decode(text []byte) (Binding, error) {
	var b Binding
	if err := json.Unmarshal(text, &b); err != nil {
		return Binding{}, fmt.Errorf("what it signs is no binding: %w", err)
	}
	return b, b.check()
}
