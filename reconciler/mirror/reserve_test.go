package mirror

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/ipam"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// deciding is a replica that decides, and writes nothing.
type deciding struct {
	view *projections.View
	held []ipam.Owner // by reservations that were accepted
}

func (d *deciding) Do(_ context.Context, _ string, command allocator.Command) (allocator.Result, error) {
	_, result, err := allocator.Decide(d.view, command, allocator.Env{MaxEvents: 10})
	if r, ok := command.(allocator.Reserve); ok && err == nil {
		d.held = append(d.held, r.Owner)
	}
	return result, err
}

func (d *deciding) View() *projections.View            { return d.view }
func (d *deciding) Leading() bool                      { return true }
func (d *deciding) Subscribe() *allocator.Subscription { return nil }

// A labelled object reserves for whom its key names, and where nobody can be called so, its event says why.
func TestReservedKeys(t *testing.T) {
	network, addr := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParseAddr("10.0.0.2")
	db := projections.New("g")
	txn, cursor := db.Write(), db.View().Cursor()
	e, _, err := cursor.Write(metav1.Now().Time, "test", "", &eventlog.SubnetsConfigured{Subnets: []ipam.Subnet{{
		NodeNetworks: []netip.Prefix{network}, Prefix: network, Gateway: netip.MustParseAddr("10.0.0.1"),
		Ranges: []ipam.Range{{First: addr, Last: addr}},
	}}})
	if err == nil {
		err = txn.Fold(e, cursor.Head.Hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	txn.Commit()
	for key, want := range map[string]string{
		"pool__reserved-for-node_":               "",
		"dp_ns_web_":                             "",
		"dp__x_":                                 "namespace is missing",
		"NULL_n_NULL_":                           "no owner",
		"dp_n__":                                 "no owner",
		"":                                       "no owner",
		"dp_n_a\x1b[31m_":                        "not printable",
		"dp_n_" + strings.Repeat("x", 1e5) + "_": "want at most 253",
	} {
		replica, said := &deciding{view: db.View()}, ""
		m := New(Config{Replica: replica, Log: zap.NewNop(),
			Report: func(_ corev1.ObjectReference, _ bool, reason, message string) {
				said = reason + ": " + message
			}})
		f := &api.FloatingIP{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.2"}, Spec: api.FloatingIPSpec{Key: key}}
		if err := m.reserve(t.Context(), addr, f); err != nil {
			t.Errorf("%.20q: %v", key, err)
		}
		switch {
		case want == "" && (len(replica.held) != 1 || said != ""):
			t.Errorf("%.20q: %s", key, said)
		case want != "" && (len(replica.held) != 0 || !strings.HasPrefix(said, eventRefused) ||
			!strings.Contains(said, want) || len(said) > 400):
			t.Errorf("%.20q: %.200q", key, said)
		}
	}
}
