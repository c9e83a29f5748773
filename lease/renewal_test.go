package lease

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// slow is an etcd whose responses take a while to come back.
type slow struct {
	clientv3.Lease
	takes time.Duration
	asked time.Time // when the newest request arrived
	ttl   int64     // seconds, of the next response
}

func (s *slow) Grant(context.Context, int64) (*clientv3.LeaseGrantResponse, error) {
	s.asked = time.Now()
	time.Sleep(s.takes)
	return &clientv3.LeaseGrantResponse{ID: 7, TTL: s.ttl}, nil
}

func (s *slow) KeepAliveOnce(context.Context, clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	s.asked = time.Now()
	time.Sleep(s.takes)
	return &clientv3.LeaseKeepAliveResponse{ID: 7, TTL: s.ttl}, nil
}

// ends ≤ arrival of the request + TTL: etcd counts from then, and its response may come late.
func TestLeaseIsCountedFromTheRequest(t *testing.T) {
	s := &slow{takes: 50 * time.Millisecond, ttl: 3}
	client := clientv3.NewCtxClient(t.Context())
	client.Lease = s
	r, err := grant(t.Context(), client, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		if latest := s.asked.Add(3 * time.Second); r.ends.After(latest) {
			t.Errorf("%s: the lease is believed to last %s longer than etcd keeps it", what, r.ends.Sub(latest))
		}
		if !r.ends.After(s.asked.Add(2 * time.Second)) {
			t.Errorf("%s: the lease ends %s after the request, of 3 s", what, r.ends.Sub(s.asked))
		}
	}
	check("grant")
	before := r.ends
	if err := r.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("renewal")
	if !r.ends.After(before) {
		t.Error("a renewal did not renew")
	}
	s.ttl = 0
	if err := r.once(t.Context()); !errors.Is(err, errEnded) {
		t.Errorf("a lease that etcd gives no more time: %v", err)
	}
}
