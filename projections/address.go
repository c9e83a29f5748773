package projections

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"time"
	intern "unique"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Address is a held address. A row of this table, so never changed once it is in it.
type Address struct {
	Addr        netip.Addr
	Owner       ipam.Owner
	PodUID      string // of the pod that uses it, or that filter claimed it for; else ""
	Node        string // where it is in use; "" while it is only kept or claimed
	Policy      ipam.Policy
	Draining    bool   // no longer in the configuration: kept by its owner, given to nobody after
	Fresh       bool   // claimed out of the free ones, so that it goes back to them when no bind follows
	Labelled    bool   // an administrator's reservation by label: only the label's removal gives it back
	Assigned    string // the node that the cloud provider has assigned it to; "" for none
	*Attachment        // on the stream of a node; else nil
	Seq         uint64 // of the newest event about it
	Changed     int64  // time of that event, Unix nanoseconds
}

// Attachment is the interface of a container that has an address.
type Attachment struct {
	ContainerID string
	IfName      string
}

func attachment(containerID, ifName string) *Attachment {
	if containerID == "" {
		return nil
	}
	return &Attachment{ContainerID: containerID, IfName: ifName}
}

// State is what the address does at the moment: in one word, for people and metrics.
func (a *Address) State() string {
	switch {
	case a.Draining:
		return "draining"
	case a.Node != "":
		return "bound"
	case a.PodUID != "":
		return "claimed"
	default:
		return "reserved"
	}
}

// Time is when the newest event about the address happened.
func (a *Address) Time() time.Time { return time.Unix(0, a.Changed).UTC() }

// Reserved reports whether the address waits for a pod: it is held for an app or a pool.
func (a *Address) Reserved() bool { return !a.Owner.IsPod() }

const (
	tableAddresses = "addresses"
	indexOwner     = "owner"     // by owner, then newest change first
	indexDraining  = "draining"  // only draining addresses
	indexContainer = "container" // by container, interface and address; only what containers have
)

// addressesTable has few indexes on purpose: each costs about 450 bytes and 3 µs a row.
func addressesTable() *memdb.TableSchema {
	return tableOf(tableAddresses,
		unique("id", func(a *Address) []byte { return addrKey(a.Addr) }),
		unique(indexOwner, func(a *Address) []byte {
			return binary.BigEndian.AppendUint64(ownerKey(a.Owner), ^a.Seq)
		}),
		partial(indexDraining, func(a *Address) []byte {
			if !a.Draining {
				return nil
			}
			return addrKey(a.Addr)
		}),
		partial(indexContainer, func(a *Address) []byte {
			if a.Attachment == nil {
				return nil
			}
			return append(containerKey(a.Attachment.ContainerID, a.Attachment.IfName), addrKey(a.Addr)...)
		}),
	)
}

// containerKey is the prefix of what an interface of a container has, or with no interface, of what all of its
// interfaces have.
func containerKey(containerID, ifName string) []byte {
	key := append(append(make([]byte, 0, len(containerID)+len(ifName)+18), containerID...), 0)
	if ifName == "" {
		return key
	}
	return append(append(key, ifName...), 0)
}

// shared gives equal names one string in memory: a namespace or node stands in thousands of rows.
func shared(name string) string {
	if name == "" {
		return ""
	}
	return intern.Make(name).Value()
}

// Address is the row of a held address, or nil.
func (v *View) Address(addr netip.Addr) *Address {
	if a, known := v.pending.address(addr); known {
		return a
	}
	return first[Address](v.base, tableAddresses, "id", addrKey(addr))
}

// Held yields the addresses of an owner and of all below it, the newest change of each owner first: of a pod its own;
// of an app its reserved ones and those of its pods; of a pool all in it.
func (v *View) Held(owner ipam.Owner) iter.Seq[*Address] {
	stored := under[Address](v.base, tableAddresses, indexOwner, ownerPrefix(owner))
	switch {
	case v.pending == nil || len(v.pending.addresses) == 0:
		return stored
	case owner.IsPod():
		return v.pending.over(v.pending.byOwner[owner], func(ipam.Owner) bool { return true }, stored)
	default:
		scope := owner.Scope()
		changed := slices.Concat(v.pending.byScope[scope], v.pending.byOwner[scope])
		return v.pending.over(changed, owner.Covers, stored)
	}
}

// Reserved yields the addresses held for exactly this app or pool and no pod of it, newest first.
func (v *View) Reserved(owner ipam.Owner) iter.Seq[*Address] {
	stored := under[Address](v.base, tableAddresses, indexOwner, ownerKey(owner))
	if v.pending == nil || len(v.pending.addresses) == 0 {
		return stored
	}
	return v.pending.over(v.pending.byOwner[owner], func(ipam.Owner) bool { return true }, stored)
}

// Addresses yields all held addresses from an address on, in numeric order.
func (v *View) Addresses(start netip.Addr) iter.Seq[*Address] {
	v.settle()
	if !start.IsValid() {
		return under[Address](v.txn, tableAddresses, "id", nil)
	}
	return from[Address](v.txn, tableAddresses, "id", addrKey(start))
}

// Draining yields the addresses that are held but no longer configured.
func (v *View) Draining() iter.Seq[*Address] {
	v.settle()
	return under[Address](v.txn, tableAddresses, indexDraining, nil)
}

// settle writes what is pending before a table is walked.
func (v *View) settle() {
	if v.pending != nil && len(v.pending.addresses)+len(v.pending.segments) > 0 {
		v.pending.flush()
	}
}

// Attached yields what an interface of a container has, or with no interface what all of its interfaces have.
func (v *View) Attached(containerID, ifName string) iter.Seq[*Address] {
	v.settle()
	return under[Address](v.txn, tableAddresses, indexContainer, containerKey(containerID, ifName))
}

// Containers yields all addresses that containers have, by container.
func (v *View) Containers() iter.Seq[*Address] {
	v.settle()
	return under[Address](v.txn, tableAddresses, indexContainer, nil)
}
