package galaxyv1alpha1

import (
	"net/netip"
	"strings"

	"galaxy/kube"
)

// NameOf is the name of the FloatingIP object of an address. A name of an object has no colons, so an IPv6 address is
// written out, with dashes.
func NameOf(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	return strings.ReplaceAll(addr.StringExpanded(), ":", "-")
}

// AddressOf is the address that a FloatingIP object is named after; ok is false for any other name.
func AddressOf(name string) (addr netip.Addr, ok bool) {
	if strings.Count(name, "-") == 7 {
		name = strings.ReplaceAll(name, "-", ":")
	}
	addr, err := netip.ParseAddr(name)
	return addr, err == nil && addr.Zone() == ""
}

// Attribute is the text in spec.attribute of a FloatingIP, as the contract has it (section 6). Older objects have no
// uid.
type Attribute struct {
	NodeName string `json:"NodeName"`
	UID      string `json:"Uid"`
}

// IsReservation reports whether an object has the label with which administrators reserve addresses.
func (f *FloatingIP) IsReservation() bool {
	_, labelled := f.Labels[kube.LabelReserved]
	return labelled
}

// ShowsEvent reports whether galaxy-ipam has written the object: it names an event of a log. The reference's objects
// have none.
func (f *FloatingIP) ShowsEvent() bool { return f.Spec.Seq > 0 }
