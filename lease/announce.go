package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/pause"
)

// Announcement is a key that is there as long as its process is. When its lease is lost, by a long silence of etcd for
// example, it is announced again under a new one.
type Announcement struct {
	client *clientv3.Client
	key    string
	ttl    time.Duration
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine that renews has ended

	others   func(value []byte) error // nil: a key that is there is taken over
	conflict func(error)

	mu       sync.Mutex // held over requests to etcd, so that values and leases reach it in order
	value    []byte
	lease    *renewal // under which the key is
	revision int64    // at which the key was created
}

// Name is a key that only one process in the world should have at a time.
type Name struct {
	Client *clientv3.Client
	Key    string
	TTL    time.Duration // DefaultTTL if 0
	// Others says whose key it is that is there already, as an error; nil for one of an earlier life of this process,
	// which is taken over.
	Others func(value []byte) error
	// Conflict is called now and then while another holds the key. May be nil.
	Conflict func(error)
}

// Announce puts the key as the function Announce does, but waits while another has it, the first time and whenever the
// lease was lost meanwhile.
func (n Name) Announce(ctx context.Context, value []byte) (*Announcement, error) {
	a := &Announcement{client: n.Client, key: n.Key, ttl: n.TTL, value: value, done: make(chan struct{}),
		others: n.Others, conflict: n.Conflict}
	return a, a.start(ctx)
}

// Announce puts a key with a value, attached to a lease of this TTL (0: DefaultTTL), and keeps both alive until Stop.
// It returns once the key is there; it fails only when ctx ends before, and with ctx nothing else ends. A key that is
// there already, from an earlier life of the same process, is taken over.
func Announce(ctx context.Context, client *clientv3.Client, key string, value []byte,
	ttl time.Duration) (*Announcement, error) {
	a := &Announcement{client: client, key: key, ttl: ttl, value: value, done: make(chan struct{})}
	return a, a.start(ctx)
}

func (a *Announcement) start(ctx context.Context) error {
	if err := a.establish(ctx); err != nil {
		return fmt.Errorf("announce %s: %w", a.key, err)
	}
	var running context.Context
	running, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go a.run(running)
	return nil
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
			var taken *takenError
			if errors.As(err, &taken) {
				if a.conflict != nil {
					a.conflict(err)
				}
				if pause.For(ctx, takenWait) != nil {
					return err
				}
			}
		}
		if pause.For(ctx, retryWait) != nil {
			return err
		}
	}
}

// put writes the newest value under a lease, which becomes that of the announcement.
func (a *Announcement) put(ctx context.Context, lease *renewal) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.others != nil {
		if err := a.claim(ctx, lease); err != nil {
			return err
		}
	} else if err := a.write(ctx, lease); err != nil {
		return err
	}
	a.lease = lease
	return nil
}

// takenWait is the pause before a key that another has is tried again.
const takenWait = time.Second

// takenError is a key that another has.
type takenError struct{ holder error }

func (e *takenError) Error() string { return e.holder.Error() }

func (e *takenError) Unwrap() error { return e.holder }

// claim puts the key if nobody else has it. The caller holds mu.
func (a *Announcement) claim(ctx context.Context, lease *renewal) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTTL)
	defer cancel()
	found, err := a.client.Get(ctx, a.key)
	if err != nil {
		return fmt.Errorf("read %s: %w", a.key, err)
	}
	unchanged := clientv3.Compare(clientv3.CreateRevision(a.key), "=", 0)
	if len(found.Kvs) > 0 {
		if holder := a.others(found.Kvs[0].Value); holder != nil {
			return &takenError{holder}
		}
		unchanged = clientv3.Compare(clientv3.ModRevision(a.key), "=", found.Kvs[0].ModRevision)
	}
	response, err := a.client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(a.key, string(a.value),
		clientv3.WithLease(lease.id))).Commit()
	switch {
	case err != nil:
		return fmt.Errorf("put %s: %w", a.key, err)
	case !response.Succeeded:
		return fmt.Errorf("put %s: another was faster", a.key)
	}
	a.revision = response.Header.Revision
	if len(found.Kvs) > 0 {
		a.revision = found.Kvs[0].CreateRevision
	}
	return nil
}

// Revision is the create revision of a Name's key, for fences.
func (a *Announcement) Revision() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.revision
}

// Until is how long the lease lasts at least, by the clock of this process: when that is past, others may take us for
// gone.
func (a *Announcement) Until() time.Time {
	r := a.current()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends
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

// Update changes the announced value, for this lease and those after it. When it fails, the value that others see may
// be the old one until the key is announced again.
func (a *Announcement) Update(ctx context.Context, value []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value = value
	return a.write(ctx, a.lease)
}

// Leave ends the announcement and leaves the key to its lease: a next life of the process that comes in time takes it
// over, and nobody sees it gone.
func (a *Announcement) Leave() {
	a.cancel()
	<-a.done
}

// Stop removes the key. When that fails, the key vanishes by itself after its TTL. The announcement is over in any
// case.
func (a *Announcement) Stop(ctx context.Context) error {
	a.cancel()
	<-a.done
	return a.current().revoke(ctx)
}
