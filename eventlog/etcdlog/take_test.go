package etcdlog

import (
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// What a watch brings is yielded without holes: each event once, in order. A hole sends the follower back to read the
// stream.
func TestTake(t *testing.T) {
	event := func(seq uint64) *clientv3.Event {
		return &clientv3.Event{Type: clientv3.EventTypePut, Kv: &mvccpb.KeyValue{
			Key: []byte(eventKey("events/", seq)), Value: fmt.Append(nil, seq), CreateRevision: 7, ModRevision: 7,
		}}
	}
	for _, c := range []struct {
		brought  []uint64
		complete bool
		through  uint64 // what was yielded after event 3
	}{
		{[]uint64{4, 5}, true, 5},
		{[]uint64{2, 3, 4}, true, 4}, // read already
		{[]uint64{2, 3}, true, 3},
		{[]uint64{5}, false, 3},
		{[]uint64{4, 6}, false, 3},
		{[]uint64{5, 4}, false, 3},
	} {
		at := uint64(3)
		f := &following{events: "events/", at: eventlog.Head{Seq: at},
			yield: func(records []eventlog.Record, err error) bool {
				for _, r := range records {
					if err != nil || r.Seq != at+1 || string(r.Bytes) != fmt.Sprint(r.Seq) {
						t.Errorf("%v: event %d, %q, is yielded after event %d: %v", c.brought, r.Seq, r.Bytes, at, err)
					}
					at = r.Seq
				}
				return true
			}}
		var events []*clientv3.Event
		for _, seq := range c.brought {
			events = append(events, event(seq))
		}
		complete, err := f.take(t.Context(), events)
		if err != nil || complete != c.complete || at != c.through || f.at.Seq != at {
			t.Errorf("%v: complete is %t, yielded through event %d, the follower is at %d: %v", c.brought, complete, at,
				f.at.Seq, err)
		}
	}
}
