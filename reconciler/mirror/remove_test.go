package mirror

import (
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/eventlog"
	"galaxy/ipam"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// An object of a free address is removed when galaxy-ipam made it; one that a former system left only when somebody
// discarded it, or when the log took its address over and let it go since, however fast that was.
func TestMayRemove(t *testing.T) {
	addr, begun := netip.MustParseAddr("10.0.0.2"), time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	network := netip.MustParsePrefix("10.0.0.0/24")
	view := func(outcome eventlog.FormerOutcome, taken bool) *projections.View {
		db := projections.New("g")
		txn := db.Write()
		cursor := db.View().Cursor()
		fold := func(data eventlog.Data) uint64 {
			e, _, err := cursor.Write(begun.Add(time.Minute), "test", "", data)
			if err == nil {
				err = txn.Fold(e, cursor.Head.Hash)
			}
			if err != nil {
				t.Fatal(err)
			}
			return e.Seq
		}
		fold(&eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{{
			NodeNetworks: []netip.Prefix{network}, Prefix: network, Gateway: netip.MustParseAddr("10.0.0.1"),
			Ranges: []ipam.Range{{First: addr, Last: netip.MustParseAddr("10.0.0.9")}},
		}}})
		if taken {
			owner := ipam.Owner{Kind: ipam.KindDeployment, Namespace: "shop", App: "zero"}
			seq := fold(&eventlog.AddressAllocated{Address: addr, Subnet: network, Owner: owner})
			fold(&eventlog.AddressReleased{Address: addr, Owner: owner, After: seq})
		}
		fold(&eventlog.FormerObjectsFound{Source: "galaxy", Objects: 1})
		if outcome != "" {
			fold(&eventlog.FormerObjectsResolved{Source: "galaxy", Outcome: outcome, Objects: 1})
		}
		txn.Commit()
		return db.View()
	}
	object := func(made time.Time, seq int64) *api.FloatingIP {
		return &api.FloatingIP{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.2", CreationTimestamp: metav1.NewTime(made)},
			Spec: api.FloatingIPSpec{Seq: seq}}
	}
	for _, c := range []struct {
		what string
		have *api.FloatingIP
		view *projections.View
		want bool
	}{
		{"ours", object(begun.Add(time.Hour), 7), view("", false), true},
		{"a former one that nobody has decided on", object(begun, 0), view("", true), false},
		{"a former one that was discarded", object(begun, 0), view(eventlog.FormerDiscarded, false), true},
		{"a former one that was not taken over", object(begun, 0), view(eventlog.FormerImported, false), false},
		{"a former one that was taken over and given back", object(begun, 0), view(eventlog.FormerImported, true),
			true},
		{"somebody's, made since", object(begun.Add(time.Hour), 0), view(eventlog.FormerImported, true), false},
		{"somebody's, made since a discard", object(begun.Add(time.Hour), 0), view(eventlog.FormerDiscarded, true),
			false},
	} {
		if got := mayRemove(c.have, addr, c.view); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}
