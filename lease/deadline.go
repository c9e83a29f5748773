package lease

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Deadlines are keys that nobody renews: each is there for a time, by the clock of etcd, and then vanishes. So the time
// of something goes on whoever leads, and however often its leader changes.
type Deadlines struct {
	Client *clientv3.Client
	Prefix string        // of the keys, with a slash at its end
	TTL    time.Duration // whole seconds; 0: DefaultTTL
}

// ClaimsPrefix is where the deadlines of claims stand under a prefix.
func ClaimsPrefix(prefix string) string { return prefix + "/v1/lease/claim/" }

// NodesPrefix is what stands before the names of nodes in the keys that their agents keep.
func NodesPrefix(prefix string) string { return prefix + "/v1/lease/node/" }

// ReplicasPrefix is where the replicas announce themselves under a prefix.
func ReplicasPrefix(prefix string) string { return prefix + "/v1/lease/replica/" }

// deadlinesInTxn bounds the keys that are put at once; etcd allows 128 operations by default.
const deadlinesInTxn = 100

// Start puts keys, all on one lease. Names that are there already begin anew.
func (d Deadlines) Start(ctx context.Context, values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	lease, err := grant(ctx, d.Client, d.TTL)
	if err != nil {
		return err
	}
	ops := make([]clientv3.Op, 0, min(len(values), deadlinesInTxn))
	put := func() error {
		if _, err := d.Client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return fmt.Errorf("start deadlines under %s: %w", d.Prefix, err)
		}
		ops = ops[:0]
		return nil
	}
	for name, value := range values {
		ops = append(ops, clientv3.OpPut(d.Prefix+name, value, clientv3.WithLease(lease.id)))
		if len(ops) == deadlinesInTxn {
			if err := put(); err != nil {
				return err
			}
		}
	}
	if len(ops) > 0 {
		return put()
	}
	return nil
}

// Deadline is one that runs, or one that has passed.
type Deadline struct {
	Name   string
	Passed bool
}

// Watch yields the deadlines that run, in one batch that may be empty, and then what changes; see the function Watch.
func (d Deadlines) Watch(ctx context.Context) iter.Seq2[[]Deadline, error] {
	return func(yield func([]Deadline, error) bool) {
		for changes, err := range Watch(ctx, d.Client, d.Prefix) {
			deadlines := make([]Deadline, len(changes))
			for i, c := range changes {
				deadlines[i] = Deadline{Name: strings.TrimPrefix(c.Key, d.Prefix), Passed: c.Gone}
			}
			if !yield(deadlines, err) {
				return
			}
		}
	}
}
