// Package lease says who is alive, on etcd's leases: it announces a process under a key that vanishes with it, watches
// such keys, and elects one leader among candidates.
//
// A lease ends on the clock of etcd; its holder must not believe in it any longer than etcd does. So everything here
// counts a lease from the moment before the request that renewed it was sent, on the monotonic clock of the process,
// and treats it as ended when its TTL has passed, whether etcd can be reached or not.
package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DefaultTTL is how long a holder that has died is believed alive by default.
const DefaultTTL = 10 * time.Second

// errEnded means that a lease has run out or was revoked.
var errEnded = errors.New("the lease has ended")

// renewal is a lease as its holder may believe in it.
type renewal struct {
	client *clientv3.Client
	id     clientv3.LeaseID
	ttl    time.Duration

	mu   sync.Mutex // for those who look at ends while it is renewed
	ends time.Time  // by the local clock; the lease lasts at least until then unless it is revoked
}

// grant makes a lease. The server may lengthen a TTL that is shorter than its elections take.
func grant(ctx context.Context, client *clientv3.Client, ttl time.Duration) (*renewal, error) {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	ctx, cancel := context.WithTimeout(ctx, ttl)
	defer cancel()
	sent := time.Now()
	response, err := client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	r := &renewal{client: client, id: response.ID}
	r.renewed(sent, response.TTL)
	return r, nil
}

func (r *renewal) renewed(sent time.Time, seconds int64) {
	r.ttl = time.Duration(seconds) * time.Second
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = sent.Add(r.ttl)
}

// interval is the time between two renewals: short enough that two may be lost.
func (r *renewal) interval() time.Duration { return r.ttl / 3 }

// renew keeps the lease alive until ctx ends, and returns nil then. It fails when the lease has ended.
func (r *renewal) renew(ctx context.Context) error {
	ends := time.NewTimer(time.Until(r.ends))
	defer ends.Stop()
	next := time.NewTimer(r.interval())
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ends.C:
			return fmt.Errorf("%w: it could not be renewed for %s", errEnded, r.ttl)
		case <-next.C:
		}
		err := r.once(ctx)
		if errors.Is(err, errEnded) {
			return err
		}
		next.Reset(r.interval())
		if err != nil {
			next.Reset(min(r.interval(), retryWait))
		}
		ends.Reset(time.Until(r.ends))
	}
}

// retryWait is the pause after a renewal, or any other request, that etcd did not answer.
const retryWait = 200 * time.Millisecond

// once renews the lease. It gives up in time for another attempt, or when the lease ends.
func (r *renewal) once(ctx context.Context) error {
	sent := time.Now()
	limit := sent.Add(r.interval())
	if r.ends.Before(limit) {
		limit = r.ends
	}
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	response, err := r.client.KeepAliveOnce(ctx, r.id)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fmt.Errorf("%w: etcd no longer has it", errEnded)
	case err != nil:
		return err
	case response.TTL <= 0:
		return fmt.Errorf("%w: etcd no longer has it", errEnded)
	}
	r.renewed(sent, response.TTL)
	return nil
}

// revoke ends the lease, and with it removes its keys. A lease that is gone already is no error.
func (r *renewal) revoke(ctx context.Context) error {
	if _, err := r.client.Revoke(ctx, r.id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke a lease: %w", err)
	}
	return nil
}

// abandon revokes a lease that is not wanted after all. What it cannot reach ends by itself after its TTL.
func (r *renewal) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	r.revoke(ctx) //nolint:errcheck // see above
}
