package allocator

import (
	"galaxy/ipam"
	"galaxy/projections"
)

// GivesUp are the addresses that a command may release, or keep without their pod: those that a cloud provider has to
// release before.
func GivesUp(view *projections.View, command Command) []*projections.Address {
	var all []*projections.Address
	switch c := command.(type) {
	case EndPod:
		for a := range view.Held(c.Pod.Owner) {
			if a.PodUID == "" || c.Pod.UID == "" || a.PodUID == c.Pod.UID {
				all = append(all, a)
			}
		}
	case ChangeWorkload:
		for a := range view.Held(c.Owner) {
			if !inUse(a) {
				all = append(all, a)
			}
		}
	case SizePool:
		for a := range view.Held(ipam.Owner{Pool: c.Pool}) {
			if a.Reserved() {
				all = append(all, a)
			}
		}
	case DeletePool:
		for a := range view.Held(ipam.Owner{Pool: c.Pool}) {
			if a.Reserved() {
				all = append(all, a)
			}
		}
	case Release:
		if a := view.Address(c.Address); a != nil {
			all = append(all, a)
		}
	}
	return all
}
