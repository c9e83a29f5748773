// Package proofs holds the addresses that pods show to what galaxy-ipam has signed. It follows the public keys in etcd
// and keeps them on the node, so that a pod is served while etcd cannot be reached.
package proofs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"galaxy/durable"
	"galaxy/ipam"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

// readLimit bounds how long an ADD waits for etcd because of a key that is not known yet.
const readLimit = 2 * time.Second

// Config is what a Verifier needs; all fields are required.
type Config struct {
	Keyring keyring.Keyring
	Node    string
	// Generation of the log, as the node knows it; "" while it does not.
	Generation func(context.Context) string
	File       string // keeps the keys for a start without etcd
	Log        *zap.Logger
}

// Verifier verifies proofs on a node.
type Verifier struct {
	Config
	ring atomic.Pointer[proof.Ring]
}

// New makes a Verifier that knows the keys which the node has kept.
func New(c Config) *Verifier {
	v := &Verifier{Config: c}
	v.ring.Store(&proof.Ring{})
	keys, err := v.load()
	if err != nil {
		c.Log.Warn("kept keys cannot be used; they are read from etcd", zap.String("file", c.File), zap.Error(err))
	}
	v.use(keys)
	return v
}

func (v *Verifier) load() (keyring.Keys, error) {
	text, err := os.ReadFile(v.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var keys keyring.Keys
	if err == nil {
		err = json.Unmarshal(text, &keys)
	}
	return keys, err
}

func (v *Verifier) use(keys keyring.Keys) {
	ring := keys.Ring()
	v.ring.Store(&ring)
}

// Run follows the keys until ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	for keys, err := range v.Keyring.Watch(ctx) {
		if keys == nil {
			return nil // ctx has ended
		}
		if err != nil {
			v.Log.Error("public key of galaxy-ipam invalid; proofs by it are refused", zap.Error(err))
		}
		v.use(keys)
		if err := v.save(keys); err != nil {
			v.Log.Warn("public keys of galaxy-ipam not kept for a start without etcd", zap.Error(err))
		}
	}
	return nil
}

func (v *Verifier) save(keys keyring.Keys) error {
	text, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return durable.WriteFile(v.File, text, 0o600)
}

// ErrNoLog means that the node has not read the log yet, so that no proof can be judged. It passes.
var ErrNoLog = errors.New("this node has not read the log yet")

// Verify returns the addresses that a pod may have. A refusal is a *proof.Refusal; it says which pod, what is wrong, and
// what repairs it.
func (v *Verifier) Verify(ctx context.Context, podUID, text string, shown []ipam.IPInfo) ([]ipam.IPInfo, error) {
	claim := proof.Claim{Proof: text, IPs: shown, PodUID: podUID, Node: v.Node, Generation: v.Generation(ctx)}
	if claim.Generation == "" {
		return nil, ErrNoLog
	}
	b, err := v.ring.Load().Verify(claim)
	var refusal *proof.Refusal
	if errors.As(err, &refusal) && refusal.Reason == proof.UnknownKey {
		if failed := v.refresh(ctx); failed != nil {
			return nil, fmt.Errorf("%s; %w", err.Error(), failed) // no refusal: a newer key may be there
		}
		b, err = v.ring.Load().Verify(claim)
	}
	return b.IPs, err
}

// refresh reads the keys at once: one may be so new that the watch has not brought it yet.
func (v *Verifier) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	keys, err := v.Keyring.Read(ctx)
	if keys == nil {
		return fmt.Errorf("etcd cannot be asked for newer keys: %w", err)
	}
	v.use(keys)
	return nil
}
