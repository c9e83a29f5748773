// Package keyring keeps public keys in etcd, where those who verify proofs read them. A key is there before anything is
// signed with it, and until no pod shows a proof by it.
package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/lease"
	"galaxy/proof"
)

// Prefix is where the keys are, under the root of the log.
func Prefix(root string) string { return root + "/v1/key/" }

// Key is a public key as it stands in etcd.
type Key struct {
	Key   json.RawMessage `json:"key"`   // a JSON Web Key (RFC 7517)
	Since time.Time       `json:"since"` // when it was published
	By    string          `json:"by"`    // the process that signs with it
}

// Keyring is the keys under a prefix.
type Keyring struct {
	Client *clientv3.Client
	Prefix string
}

// Publish puts a key where it is read. It may be repeated.
func (k Keyring) Publish(ctx context.Context, id string, key Key) error {
	text, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("publish the key %s: %w", id, err)
	}
	if _, err := k.Client.Put(ctx, k.Prefix+id, string(text)); err != nil {
		return fmt.Errorf("publish the key %s: %w", id, err)
	}
	return nil
}

// Remove takes a key away: proofs by it prove nothing any more. One that is not there is no error.
func (k Keyring) Remove(ctx context.Context, id string) error {
	if _, err := k.Client.Delete(ctx, k.Prefix+id); err != nil {
		return fmt.Errorf("take the key %s away: %w", id, err)
	}
	return nil
}

// Read reads all keys that can be used. The error says of those that cannot; with a nil Keys nothing could be read.
func (k Keyring) Read(ctx context.Context) (Keys, error) {
	response, err := k.Client.Get(ctx, k.Prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	keys := Keys{}
	var bad []error
	for _, kv := range response.Kvs {
		bad = append(bad, keys.put(strings.TrimPrefix(string(kv.Key), k.Prefix), kv.Value))
	}
	return keys, errors.Join(bad...)
}

// Watch yields the keys that can be used, first as they are and then whenever they change; the error says of those that
// cannot. It ends with the error of ctx, and nil Keys.
func (k Keyring) Watch(ctx context.Context) iter.Seq2[Keys, error] {
	return func(yield func(Keys, error) bool) {
		keys := Keys{}
		for changes, err := range lease.Watch(ctx, k.Client, k.Prefix) {
			if err != nil {
				yield(nil, err)
				return
			}
			next := make(Keys, len(keys))
			for id, key := range keys {
				next[id] = key
			}
			var bad []error
			for _, c := range changes {
				id := strings.TrimPrefix(c.Key, k.Prefix)
				delete(next, id)
				if !c.Gone {
					bad = append(bad, next.put(id, c.Value))
				}
			}
			if keys = next; !yield(keys, errors.Join(bad...)) {
				return
			}
		}
	}
}

// Keys are keys that can be used, by their names.
type Keys map[string]Key

// put adds a key if it is one, and is the one that it is named after.
func (k Keys) put(id string, text []byte) error {
	var key Key
	if err := json.Unmarshal(text, &key); err != nil {
		return fmt.Errorf("key %s: %w", id, err)
	}
	if _, err := proof.ParseKey(id, key.Key); err != nil {
		return err
	}
	k[id] = key
	return nil
}

// Ring is the keys to verify with.
func (k Keys) Ring() proof.Ring {
	ring := make(proof.Ring, len(k))
	for id, key := range k {
		if public, err := proof.ParseKey(id, key.Key); err == nil { // put has seen to that
			ring[id] = public
		}
	}
	return ring
}
