package mirror

import (
	"encoding/json"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/kube"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// NameOf is the name of the FloatingIP object of an address. A name of an object has no colons, so an IPv6 address is written out,
// with dashes.
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

// attribute is the text in spec.attribute, as the contract has it.
type attribute struct {
	NodeName string `json:"NodeName"`
	UID      string `json:"Uid"`
}

// reservedByLabel is the value of the label on objects that are made again; any value will do.
const reservedByLabel = "true"

// Want is how the log shows a held address.
func Want(a *projections.Address) *api.FloatingIP {
	text, err := json.Marshal(attribute{NodeName: a.Node, UID: a.PodUID})
	if err != nil {
		panic(err) // two strings
	}
	updated := metav1.NewTime(a.Time().Truncate(1e9))
	f := &api.FloatingIP{
		TypeMeta:   metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: "FloatingIP"},
		ObjectMeta: metav1.ObjectMeta{Name: NameOf(a.Addr)},
		Spec: api.FloatingIPSpec{
			Key: a.Owner.String(), Attribute: string(text), Policy: int32(a.Policy), UpdateTime: &updated,
			State: a.State(), Node: a.Node, Seq: int64(a.Seq),
		},
	}
	if a.Labelled {
		f.Labels = map[string]string{kube.LabelReserved: reservedByLabel}
	}
	return f
}

// Shows reports whether an object shows the address as it is.
func Shows(have *api.FloatingIP, a *projections.Address) bool {
	want := Want(a)
	if have.Spec.UpdateTime == nil || !have.Spec.UpdateTime.Equal(want.Spec.UpdateTime) || IsReservation(have) != a.Labelled {
		return false
	}
	spec := have.Spec
	spec.UpdateTime, spec.Subnet = want.Spec.UpdateTime, want.Spec.Subnet
	return spec == want.Spec
}

// IsReservation reports whether an object has the label with which administrators reserve addresses.
func IsReservation(f *api.FloatingIP) bool {
	_, labelled := f.Labels[kube.LabelReserved]
	return labelled
}

// mend makes an object show the address, and leaves what others have added to it.
func mend(have *api.FloatingIP, a *projections.Address) *api.FloatingIP {
	want := Want(a)
	next := have.DeepCopy()
	subnet := next.Spec.Subnet
	next.Spec = want.Spec
	next.Spec.Subnet = subnet
	switch {
	case a.Labelled && !IsReservation(next):
		metav1.SetMetaDataLabel(&next.ObjectMeta, kube.LabelReserved, reservedByLabel)
	case !a.Labelled:
		delete(next.Labels, kube.LabelReserved)
	}
	return next
}
