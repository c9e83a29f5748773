package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// Difference is a FloatingIP object that does not show what the log says.
type Difference struct {
	What   string // in words
	Remedy string
	have   *api.FloatingIP      // nil: there is none
	want   *projections.Address // nil: there should be none
}

// Check compares the objects with the log, but for what has changed after a moment: that may be on its way to the
// objects, and is counted as recent. An administrator's request that the log does not know yet is no difference.
func Check(ctx context.Context, client dynamic.Interface, view *projections.View,
	after time.Time) (found []Difference, recent int, err error) {
	list, err := client.Resource(api.FloatingIPs).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, 0, fmt.Errorf("list FloatingIP objects: %w", err)
	}
	have := map[string]*api.FloatingIP{}
	for i := range list.Items {
		object, err := toFloatingIP(&list.Items[i])
		if err != nil {
			return nil, 0, fmt.Errorf("FloatingIP %s: %w", list.Items[i].GetName(), err)
		}
		have[object.Name] = object
		addr, ok := api.AddressOf(object.Name)
		switch {
		case !ok || view.Address(addr) != nil || object.IsReservation():
		case view.Origin().Outcome == "":
			found = append(found, Difference{What: "FloatingIP " + object.Name + " holds the address for " +
				object.Spec.Key + ", and the log knows nothing of it: see galaxyctl migrate galaxy --dry-run"})
		case releasedAfter(view, addr, after):
			recent++
		case mayRemove(object, addr, view):
			found = append(found, Difference{What: "FloatingIP " + object.Name +
				" is there, and nobody holds the address", Remedy: "delete the object", have: object})
		default:
			found = append(found, Difference{What: "FloatingIP " + object.Name +
				" is there, galaxy-ipam has not made it, and nobody holds the address"})
		}
	}
	for a := range view.Addresses(netip.Addr{}) {
		object := have[api.NameOf(a.Addr)]
		switch {
		case object != nil && Shows(object, a): // as it should be
		case a.Time().After(after):
			recent++
		case object == nil:
			found = append(found, Difference{What: fmt.Sprintf("%s is held for %s, and has no FloatingIP object",
				a.Addr, a.Owner.Describe()), Remedy: "make the object", want: a})
		default:
			found = append(found, Difference{What: fmt.Sprintf("FloatingIP %s does not show what the log says of it "+
				"(event %d)", object.Name, a.Seq), Remedy: "write the object", have: object, want: a})
		}
	}
	return found, recent, nil
}

func releasedAfter(view *projections.View, addr netip.Addr, after time.Time) bool {
	r := view.Released(addr)
	return r != nil && r.Time().After(after)
}

// Repair writes the object of a difference as it should be.
func (d Difference) Repair(ctx context.Context, client dynamic.Interface) error {
	s := &store[*api.FloatingIP]{client: client, resource: api.FloatingIPs}
	switch {
	case d.have == nil && d.want == nil:
		return errors.New("there is nothing to repair")
	case d.want == nil:
		return s.remove(ctx, d.have)
	case d.have == nil:
		return s.create(ctx, Want(d.want))
	default:
		return s.update(ctx, repair(d.have, d.want))
	}
}
