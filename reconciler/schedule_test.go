package reconciler

import (
	"net/netip"
	"testing"
	"time"
)

// What a full pass has failed at, as to end a pod whose address the cloud provider would not take back, is tried again
// soon, whatever changes in the cluster meanwhile.
func TestSchedule(t *testing.T) {
	type pass struct {
		at           time.Duration
		full, failed bool
		suspects     bool
		next         time.Duration // when the next full pass is due
	}
	const confirm, interval = 2 * time.Second, time.Minute
	for name, passes := range map[string][]pass{
		"all is well": {{full: true, next: interval}, {at: 5 * time.Second, next: interval}},
		"suspects": {{full: true, suspects: true, next: confirm},
			{at: confirm, full: true, next: confirm + interval}},
		"a full pass fails": {{full: true, failed: true, next: 2 * confirm}, {at: time.Second, next: 2 * confirm}},
		"a full pass fails long": {{full: true, failed: true, next: 2 * confirm},
			{at: 4 * time.Second, full: true, failed: true, next: 12 * time.Second}},
		"a difference fails": {{full: true, next: interval}, {at: time.Second, failed: true, next: 5 * time.Second}},
		"differences fail again and again": {{full: true, next: interval},
			{at: time.Second, failed: true, next: 5 * time.Second},
			{at: 2 * time.Second, failed: true, next: 5 * time.Second},
			{at: 3 * time.Second, failed: true, next: 5 * time.Second}},
	} {
		start := time.Unix(0, 0)
		r := &Reconciler{Config: Config{Confirm: confirm, Interval: interval}}
		for i, p := range passes {
			r.suspects = nil
			if p.suspects {
				r.suspects = map[netip.Addr]uint64{netip.MustParseAddr("10.0.0.2"): 1}
			}
			r.schedule(start.Add(p.at), p.full, p.failed)
			if got := r.next.Sub(start); got != p.next {
				t.Errorf("%s: after pass %d the next full pass is due at %s, want %s", name, i, got, p.next)
			}
		}
	}
}
