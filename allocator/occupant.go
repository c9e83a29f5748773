package allocator

import (
	"fmt"
	"net/netip"
)

// Occupant is a pod that has not ended and shows an address, whatever the log knows of it.
type Occupant struct {
	Pod       string // its namespace and name
	UID       string
	ByKubelet bool // its status names the address; otherwise only its own annotation does
}

// Occupants are which pods show an address, as the cluster said last. They never change, so that a decision on them can
// be made again.
type Occupants interface {
	Occupants(addr netip.Addr) []Occupant
}

// stranger is a pod that shows an address, and so stands in the way of another that is to get it: the pod of uid, or ""
// for none. For a free address any sign of it counts, as nobody is harmed if it stays free. For one that the log holds
// for somebody, only the word of a kubelet counts against the log: an annotation must not keep an owner from what is
// its own.
func (e Env) stranger(addr netip.Addr, uid string, held bool) (Occupant, bool) {
	if e.Occupants == nil {
		return Occupant{}, false
	}
	for _, s := range e.Occupants.Occupants(addr) {
		if (uid == "" || s.UID != uid) && (s.ByKubelet || !held) {
			return s, true
		}
	}
	return Occupant{}, false
}

// OccupiedError is an address that a running pod shows which the log does not know to have it.
type OccupiedError struct {
	Address netip.Addr
	By      Occupant
}

func (e *OccupiedError) Error() string {
	source := "annotation"
	if e.By.ByKubelet {
		source = "status"
	}
	return fmt.Sprintf("%s is in use: the %s of pod %s (uid %s) names it; it is given to nobody else while that pod "+
		"is there", e.Address, source, e.By.Pod, e.By.UID)
}

// unseen fails if a pod other than that of uid shows an address.
func (d *decision) unseen(addr netip.Addr, uid string, held bool) error {
	if s, seen := d.env.stranger(addr, uid, held); seen {
		return &OccupiedError{Address: addr, By: s}
	}
	return nil
}
