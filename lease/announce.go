package lease

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Announcement is a key that is there as long as its process is. When its lease is lost, by a long silence of etcd for
// example, it is announced again under a new one.
type Announcement struct {
	client *clientv3.Client
	key    string
	ttl    time.Duration
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine that renews has ended

	mu    sync.Mutex // held over requests to etcd, so that values and leases reach it in order
	value []byte
	lease *renewal // under which the key is
}

// Announce puts a key with a value, attached to a lease of this TTL (0: DefaultTTL), and keeps both alive until Stop. It
// returns once the key is there; it fails only when ctx ends before, and with ctx nothing else ends. A key that is
// there already, from an earlier life of the same process, is taken over.
func Announce(ctx context.Context, client *clientv3.Client, key string, value []byte, ttl time.Duration) (*Announcement, error) {
	a := &Announcement{client: client, key: key, ttl: ttl, value: value, done: make(chan struct{})}
	if err := a.establish(ctx); err != nil {
		return nil, fmt.Errorf("announce %s: %w", key, err)
	}
	var running context.Context
	running, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go a.run(running)
	return a, nil
}

// establish takes a lease and puts the key, until it succeeds or ctx ends.
func (a *Announcement) establish(ctx context.Context) error {
	for {
		lease, err := grant(ctx, a.client, a.ttl)
		if err == nil {
			if err = a.put(ctx, lease); err == nil {
				return nil
			}
			lease.abandon(ctx)
		}
		if sleep(ctx, retryWait) != nil {
			return err
		}
	}
}

// put writes the newest value under a lease, which becomes that of the announcement.
func (a *Announcement) put(ctx context.Context, lease *renewal) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.write(ctx, lease); err != nil {
		return err
	}
	a.lease = lease
	return nil
}

// write puts the newest value under a lease. The caller holds mu.
func (a *Announcement) write(ctx context.Context, lease *renewal) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTTL)
	defer cancel()
	if _, err := a.client.Put(ctx, a.key, string(a.value), clientv3.WithLease(lease.id)); err != nil {
		return fmt.Errorf("put %s: %w", a.key, err)
	}
	return nil
}

func (a *Announcement) current() *renewal {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lease
}

func (a *Announcement) run(ctx context.Context) {
	defer close(a.done)
	for {
		// An ended lease is nobody's error here: it is announced again.
		if a.current().renew(ctx) == nil || a.establish(ctx) != nil {
			return
		}
	}
}

// Update changes the announced value, for this lease and those after it. When it fails, the value that others see may be
// the old one until the key is announced again.
func (a *Announcement) Update(ctx context.Context, value []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value = value
	return a.write(ctx, a.lease)
}

// Stop removes the key. When that fails, the key vanishes by itself after its TTL. The announcement is over in any case.
func (a *Announcement) Stop(ctx context.Context) error {
	a.cancel()
	<-a.done
	return a.current().revoke(ctx)
}
