package mirror

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/kube"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// reservedByLabel is the value of the label on objects that are made again; any value will do.
const reservedByLabel = "true"

// Want is how the log shows a held address.
func Want(a *projections.Address) *api.FloatingIP {
	text, err := json.Marshal(api.Attribute{NodeName: a.Node, UID: a.PodUID})
	if err != nil {
		panic(err) // two strings
	}
	updated := metav1.NewTime(a.Time().Truncate(1e9))
	f := &api.FloatingIP{
		TypeMeta:   metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: "FloatingIP"},
		ObjectMeta: metav1.ObjectMeta{Name: api.NameOf(a.Addr)},
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
	if have.Spec.UpdateTime == nil || !have.Spec.UpdateTime.Equal(want.Spec.UpdateTime) ||
		have.IsReservation() != a.Labelled {
		return false
	}
	spec := have.Spec
	spec.UpdateTime, spec.Subnet = want.Spec.UpdateTime, want.Spec.Subnet
	return spec == want.Spec
}

// repair makes an object show the address, and leaves what others have added to it.
func repair(have *api.FloatingIP, a *projections.Address) *api.FloatingIP {
	want := Want(a)
	next := have.DeepCopy()
	subnet := next.Spec.Subnet
	next.Spec = want.Spec
	next.Spec.Subnet = subnet
	switch {
	case a.Labelled && !next.IsReservation():
		metav1.SetMetaDataLabel(&next.ObjectMeta, kube.LabelReserved, reservedByLabel)
	case !a.Labelled:
		delete(next.Labels, kube.LabelReserved)
	}
	return next
}
