package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/pause"
)

// LeaderKey is the key of the one election under a prefix.
func LeaderKey(prefix string) string { return prefix + "/v1/lease/leader" }

// Holder is who leads, as the leader's key says in JSON.
type Holder struct {
	ID      string    `json:"id"`
	Address string    `json:"address,omitempty"` // where others reach its port for the scheduler
	REST    string    `json:"rest,omitempty"`    // and its port for REST
	Since   time.Time `json:"since"`             // by its own clock
}

// Candidate is who stands for election.
type Candidate struct {
	Key     string        // of the election; see LeaderKey
	ID      string        // for people; two candidates may share it without harm
	Address string        // where others reach the leader's port for the scheduler
	REST    string        // and its port for REST
	TTL     time.Duration // how long a leader that has died is waited for; 0: DefaultTTL
	// Note is called after each attempt with the reason of its failure; nil when it was answered, also if another
	// leads. May be nil.
	Note func(error)
}

// Leadership is won by Elect and lasts until Lost. Its key exists with this create revision for no one else, ever: a
// write that compares both cannot be that of a deposed leader.
type Leadership struct {
	Key      string
	Revision int64

	lease  *renewal
	cancel context.CancelFunc
	lost   chan struct{}
	done   chan struct{} // closed when nothing runs any more
	once   sync.Once
	cause  error // set before lost is closed
}

// Elect waits until the candidate leads, or ctx ends. Once won, the leadership no longer depends on ctx.
//
// The key is only ever created, never overwritten: a candidate that comes again under the same ID, while its former
// life still holds the key, waits as everybody does.
func Elect(ctx context.Context, client *clientv3.Client, c Candidate) (*Leadership, error) {
	for {
		won, err := attempt(ctx, client, c)
		if c.Note != nil && ctx.Err() == nil {
			c.Note(err)
		}
		if won != nil {
			return won, nil
		}
		if err == nil {
			continue
		}
		if pause.For(ctx, retryWait) != nil {
			return nil, fmt.Errorf("stand for %s: %w: %w", c.Key, ctx.Err(), err)
		}
	}
}

// attempt waits until the key is free and tries to create it. It returns neither a leadership nor an error when it is
// to be tried again: another was faster, or still leads.
func attempt(ctx context.Context, client *clientv3.Client, c Candidate) (*Leadership, error) {
	if free, err := awaitFree(ctx, client, c.Key); err != nil || !free {
		return nil, err
	}
	value, err := json.Marshal(Holder{ID: c.ID, Address: c.Address, REST: c.REST, Since: time.Now().UTC()})
	if err != nil {
		return nil, err
	}
	lease, err := grant(ctx, client, c.TTL)
	if err != nil {
		return nil, err
	}
	revision, err := create(ctx, lease, c.Key, string(value))
	if err != nil || revision == 0 {
		lease.abandon(ctx)
		return nil, err
	}
	l := &Leadership{Key: c.Key, Revision: revision, lease: lease, lost: make(chan struct{}), done: make(chan struct{})}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	go l.run(running)
	return l, nil
}

// create makes the key if it is not there, and returns its create revision, or 0 if it is another's. The response may
// be lost; then the lease that the key hangs on shows whose it is.
func create(ctx context.Context, lease *renewal, key, value string) (int64, error) {
	ctx, cancel := context.WithDeadline(ctx, lease.ends)
	defer cancel()
	response, err := lease.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(lease.id))).
		Commit()
	if err == nil && response.Succeeded {
		return response.Header.Revision, nil
	}
	if err == nil {
		return 0, nil
	}
	now, getErr := lease.client.Get(ctx, key)
	if getErr != nil {
		return 0, errors.Join(err, getErr)
	}
	if len(now.Kvs) == 0 || now.Kvs[0].Lease != int64(lease.id) {
		return 0, err
	}
	return now.Kvs[0].CreateRevision, nil
}

// awaitFree returns when the key is not there, or when it is time to look again: a watch can fall silent for good, for
// example when etcd is put back to an older state.
func awaitFree(ctx context.Context, client *clientv3.Client, key string) (bool, error) {
	now, err := client.Get(ctx, key, clientv3.WithKeysOnly())
	if err != nil {
		return false, fmt.Errorf("read %s: %w", key, err)
	}
	if len(now.Kvs) == 0 {
		return true, nil
	}
	watching, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), recheck)
	defer cancel()
	for response := range client.Watch(watching, key, clientv3.WithRev(now.Header.Revision+1),
		clientv3.WithFilterPut()) {
		if err := response.Err(); err != nil {
			return false, fmt.Errorf("watch %s: %w", key, err)
		}
		if len(response.Events) > 0 {
			return true, nil
		}
	}
	return false, ctx.Err()
}

// recheck is how often a key that is watched is read as well.
const recheck = 10 * time.Second

// Lost is closed when the leadership is over: it was resigned, its lease has ended by the local clock, or its key is
// gone. It is also closed when etcd cannot be reached for as long as the TTL.
func (l *Leadership) Lost() <-chan struct{} { return l.lost }

// Err says why the leadership is over: nil until Lost is closed, and nil when it was resigned.
func (l *Leadership) Err() error {
	select {
	case <-l.lost:
		return l.cause
	default:
		return nil
	}
}

// Resign ends the leadership and frees the key at once, so that another candidate need not wait for the TTL. Lost is
// closed before the key is free. When it fails the key is free after the TTL.
func (l *Leadership) Resign(ctx context.Context) error {
	l.end(nil)
	l.cancel()
	<-l.done
	return l.lease.revoke(ctx)
}

func (l *Leadership) end(cause error) {
	l.once.Do(func() {
		l.cause = cause
		close(l.lost)
	})
}

// run holds the leadership: it ends with the lease or with the key, whichever is first.
func (l *Leadership) run(ctx context.Context) {
	defer close(l.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan error, 1)
	go func() { gone <- l.awaitGone(ctx) }()
	renewed := make(chan error, 1)
	go func() { renewed <- l.lease.renew(ctx) }()
	select {
	case err := <-renewed:
		l.end(err)
		cancel()
		<-gone //nolint:errcheck // only its end is waited for
	case err := <-gone:
		l.end(err)
		cancel()
		<-renewed //nolint:errcheck // only its end is waited for
	}
}

// awaitGone returns when the key is no longer ours, or ctx ends.
func (l *Leadership) awaitGone(ctx context.Context) error {
	for ctx.Err() == nil {
		now, err := l.lease.client.Get(ctx, l.Key)
		if err == nil && (len(now.Kvs) == 0 || now.Kvs[0].CreateRevision != l.Revision) {
			return fmt.Errorf("%s is gone or another's", l.Key)
		}
		if err == nil && l.changed(ctx, now.Header.Revision) {
			continue
		}
		if pause.For(ctx, retryWait) != nil {
			return nil
		}
	}
	return nil
}

// changed reports whether something has happened to the key since a revision, or soon does.
func (l *Leadership) changed(ctx context.Context, since int64) bool {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), recheck)
	defer cancel()
	for response := range l.lease.client.Watch(ctx, l.Key, clientv3.WithRev(since+1)) {
		if response.Err() != nil || len(response.Events) > 0 {
			return response.Err() == nil
		}
	}
	return false
}

// ErrNoLeader comes from Leader when nobody leads.
var ErrNoLeader = errors.New("there is no leader")

// Leader reads who leads, linearizably.
func Leader(ctx context.Context, client *clientv3.Client, key string) (Holder, error) {
	response, err := client.Get(ctx, key)
	if err != nil {
		return Holder{}, fmt.Errorf("read %s: %w", key, err)
	}
	if len(response.Kvs) == 0 {
		return Holder{}, fmt.Errorf("%s: %w", key, ErrNoLeader)
	}
	return ParseHolder(response.Kvs[0].Value)
}

// ParseHolder reads the value of a leader's key.
func ParseHolder(value []byte) (Holder, error) {
	var h Holder
	if err := json.Unmarshal(value, &h); err != nil {
		return Holder{}, fmt.Errorf("the leader's key: %q: %w", value, err)
	}
	return h, nil
}
