package etcdlog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Generation names one life of a log. A restore begins a new one, so that nobody mistakes the restored log for the one
// that was known.
type Generation struct {
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	RestoredFrom *Origin   `json:"restoredFrom,omitempty"`
}

// Origin is what a log was restored from.
type Origin struct {
	Generation string    `json:"generation"` // of the log that was backed up
	Revision   int64     `json:"revision"`   // of etcd at the backup
	Time       time.Time `json:"time"`       // of the backup
}

// NewGeneration makes a generation with a random id.
func NewGeneration(now time.Time, from *Origin) Generation {
	return Generation{ID: randomID(16), Created: now.UTC().Round(0), RestoredFrom: from}
}

func randomID(bytes int) string {
	id := make([]byte, bytes)
	rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// storedGeneration is a generation with its exact value in etcd, which appends compare.
type storedGeneration struct {
	Generation
	value string
}

func parseGeneration(value []byte) (*storedGeneration, error) {
	g := &storedGeneration{value: string(value)}
	if err := json.Unmarshal(value, &g.Generation); err != nil {
		return nil, corrupt("its generation %q: %w", value, err)
	}
	if g.ID == "" {
		return nil, corrupt("its generation %q has no id", value)
	}
	return g, nil
}

// Generation is that of the log when it was last read.
func (l *Log) Generation() Generation { return l.generation.Load().Generation }

// readGeneration reads the generation linearizably and remembers it.
func (l *Log) readGeneration(ctx context.Context) (*storedGeneration, error) {
	response, err := l.client.Txn(ctx).Then(clientv3.OpGet(l.keys.generation),
		clientv3.OpGet(l.keys.restoring, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return nil, fmt.Errorf("read the generation of the log: %w", err)
	}
	if len(response.Responses[1].GetResponseRange().Kvs) > 0 {
		return nil, fmt.Errorf("%s: %w", l.keys.restoring, ErrRestoring)
	}
	return l.learnGeneration(rangeOf(response, 0))
}

// learnGeneration takes the generation out of a response of etcd.
func (l *Log) learnGeneration(kvs []*keyValue) (*storedGeneration, error) {
	if len(kvs) == 0 {
		return nil, fmt.Errorf("%s: %w", l.keys.generation, ErrNoLog)
	}
	// The usual case by far; it saves parsing for every pass at the head.
	if known := l.generation.Load(); known != nil && known.value == string(kvs[0].Value) {
		return known, nil
	}
	g, err := parseGeneration(kvs[0].Value)
	if err != nil {
		return nil, err
	}
	l.generation.Store(g)
	return g, nil
}

// createLog writes the first generation of an empty log. Of many that try, one succeeds and the others find its work.
func (l *Log) createLog(ctx context.Context) error {
	g := NewGeneration(time.Now(), nil)
	value, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode the generation of the log: %w", err)
	}
	response, err := l.client.Txn(ctx).If(
		clientv3.Compare(clientv3.CreateRevision(l.keys.generation), "=", 0),
		clientv3.Compare(clientv3.CreateRevision(l.keys.restoring), "=", 0),
		clientv3.Compare(clientv3.CreateRevision(l.keys.heads).WithPrefix(), "=", 0),
		clientv3.Compare(clientv3.CreateRevision(l.keys.logs).WithPrefix(), "=", 0),
	).Then(clientv3.OpPut(l.keys.generation, string(value))).Commit()
	if err != nil {
		return fmt.Errorf("create the log: %w", err)
	}
	_, err = l.readGeneration(ctx)
	if errors.Is(err, ErrNoLog) && !response.Succeeded {
		return corrupt("events or heads without a generation under %s; restore a backup into an empty prefix",
			l.keys.logs)
	}
	return err
}
