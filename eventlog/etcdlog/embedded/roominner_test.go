package embedded

import (
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A database leaves room to be written a second time, whatever the disk; one that is there already is not cut off.
func TestQuotaFor(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		disk     uint64
		database int64
		want     int64
	}{
		{10 * gib, 0, 10 * gib / 5 * 2}, {100 * gib, 0, 8 * gib}, {10 * gib, 6 * gib, 6 * gib / 4 * 5},
		{10 * gib, 7 * gib, 8 * gib}, {gib, gib / 10, gib / 5 * 2},
	} {
		if got := quotaFor(c.disk, c.database); got != c.want {
			t.Errorf("a disk of %d and a database of %d: %d, want %d", c.disk, c.database, got, c.want)
		}
	}
}

// Refusing ends above where it begins.
func TestRoomNext(t *testing.T) {
	for _, c := range []struct {
		free     uint64
		refusing bool
		want     bool
	}{{100, false, false}, {99, false, true}, {99, true, true}, {124, true, true}, {125, true, false}} {
		if got := (Room{Total: 10000, Free: c.free, Reserve: 100, Refusing: c.refusing}).next(); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	if !(Room{Total: 1000, Free: 99}).Low() || (Room{Total: 1000, Free: 100}).Low() {
		t.Error("low is below a tenth")
	}
}

// What leaves less in etcd than there was goes on while it is full: else it could never be emptied.
func TestAdds(t *testing.T) {
	put := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{}}}
	del := &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{}}}
	nested := func(op *etcdserverpb.RequestOp) *etcdserverpb.RequestOp {
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{RequestTxn: &etcdserverpb.TxnRequest{Failure: []*etcdserverpb.RequestOp{op}}}}
	}
	for _, c := range []struct {
		request any
		want    bool
	}{
		{&etcdserverpb.PutRequest{}, true}, {&etcdserverpb.LeaseGrantRequest{}, true},
		{&etcdserverpb.RangeRequest{}, false},
		{&etcdserverpb.DeleteRangeRequest{}, false}, {&etcdserverpb.CompactionRequest{}, false},
		{&etcdserverpb.LeaseRevokeRequest{}, false},
		{&etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{del}}, false},
		{&etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{del, put}}, true},
		{&etcdserverpb.TxnRequest{Failure: []*etcdserverpb.RequestOp{put}}, true},
		{&etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{nested(put)}}, true},
		{&etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{nested(del)}}, false},
	} {
		if got := adds(c.request); got != c.want {
			t.Errorf("%T %v: %t", c.request, c.request, got)
		}
	}
}
