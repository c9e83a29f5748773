package allocator

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"
)

// running is a cluster beside the log: the pods that run, and the addresses that they show. The cluster begins with
// pods of which the log knows nothing.
//
//	for all moments: no two pods that have not ended show one address
type running struct{ seen occupants }

// beginning draws the pods that run before the log begins: some are named by a kubelet, some by their annotation alone.
func beginning(t *rapid.T, w *harness) *running {
	for i := range rapid.IntRange(0, 6).Draw(t, "strangers") {
		uid := fmt.Sprintf("stranger-%d", i)
		w.seen[drawAddress(t)] = []Occupant{{Pod: "ns/" + uid, UID: uid, ByKubelet: rapid.Bool().Draw(t, "by kubelet")}}
	}
	return &running{w.seen}
}

// arrive has somebody else start a pod with an address that no pod shows, whoever the log keeps it for.
func (r *running) arrive(t *rapid.T, i int) {
	if addr := drawAddress(t); len(r.seen[addr]) == 0 {
		uid := fmt.Sprintf("late-%d", i)
		r.seen[addr] = []Occupant{{Pod: "ns/" + uid, UID: uid, ByKubelet: true}}
	}
}

// possible replaces what only a mistake outside of the decisions could ask for: adoption of an address that another pod
// shows.
func (r *running) possible(cmd Command) Command {
	adopt, ok := cmd.(Adopt)
	if !ok {
		return cmd
	}
	for _, s := range r.seen[adopt.Address] {
		if s.UID != adopt.Pod.UID {
			return EndPod{Pod: adopt.Pod}
		}
	}
	return cmd
}

// before lets go of what has ended by the time of a command.
func (r *running) before(cmd Command) {
	if end, ok := cmd.(EndPod); ok {
		for addr := range maps.Clone(r.seen) {
			if r.seen[addr] = slices.DeleteFunc(r.seen[addr],
				func(s Occupant) bool { return s.UID == end.Pod.UID }); len(r.seen[addr]) == 0 {
				delete(r.seen, addr)
			}
		}
	}
}

// after has the pod of a successful bind show its addresses, and checks that nobody else does.
func (r *running) after(t *rapid.T, cmd Command, result Result, err error) {
	if err != nil {
		return
	}
	switch c := cmd.(type) {
	case Bind:
		for _, g := range result.Grants {
			r.show(t, g.Address, c.Pod.UID)
		}
	case Adopt:
		r.show(t, c.Address, c.Pod.UID)
	}
}

func (r *running) show(t *rapid.T, addr netip.Addr, uid string) {
	for _, s := range r.seen[addr] {
		if s.UID == uid {
			return
		}
		if s.ByKubelet {
			t.Fatalf("%s is given to %s, while %s shows it", addr, uid, s.UID)
		}
	}
	r.seen[addr] = append(r.seen[addr], Occupant{Pod: "ns/" + uid, UID: uid, ByKubelet: true})
}
