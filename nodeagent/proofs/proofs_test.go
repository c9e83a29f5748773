package proofs_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/nodeagent/proofs"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

var infos = []ipam.IPInfo{{IP: netip.MustParsePrefix("10.0.0.2/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}

// signed is a key, and the proof by it that the pod u1 has its address on node a.
func signed(t *testing.T) (*proof.Signer, string) {
	t.Helper()
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signer.Sign(proof.Binding{Generation: "g1", Seq: 1, PodUID: "u1", Node: "a", IPs: infos})
	if err != nil {
		t.Fatal(err)
	}
	return signer, text
}

type harness struct {
	*testing.T
	etcd   *etcdtest.Server
	config proofs.Config
	ring   keyring.Keyring
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	etcd := etcdtest.Start(t)
	h := &harness{T: t, etcd: etcd, ring: keyring.Keyring{Client: etcd.Client(t), Prefix: keyring.Prefix("/galaxy")}}
	h.config = proofs.Config{Keyring: h.ring, Node: "a", Generation: func(context.Context) string { return "g1" },
		File: filepath.Join(t.TempDir(), "keys.json"), Log: zap.NewNop()}
	return h
}

func (h *harness) publish(s *proof.Signer) {
	h.Helper()
	if err := h.ring.Publish(h.Context(), s.ID(), keyring.Key{Key: s.Public(), By: "test"}); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) verify(v *proofs.Verifier, text string) error {
	got, err := v.Verify(h.Context(), "u1", text, infos)
	if err == nil && (len(got) != 1 || got[0] != infos[0]) {
		h.Errorf("proven are %v", got)
	}
	return err
}

// run lets a verifier follow the keys until stop.
func run(v *proofs.Verifier) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// A key that was published is known at once, whether the watch has brought it or not; one that was removed is not.
func TestKeysAreFollowed(t *testing.T) {
	h := newHarness(t)
	v := proofs.New(h.config)
	signer, text := signed(t)
	h.publish(signer)
	if err := h.verify(v, text); err != nil { // nothing follows the keys yet
		t.Error(err)
	}
	defer run(v)()
	if err := h.ring.Remove(t.Context(), signer.ID()); err != nil {
		t.Fatal(err)
	}
	var refusal *proof.Refusal
	for deadline := time.Now().Add(20 * time.Second); !errors.As(h.verify(v, text), &refusal); {
		if time.Now().After(deadline) {
			t.Fatal("a key that was removed still proves")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if refusal.Reason != proof.UnknownKey {
		t.Errorf("refused as %s", refusal.Reason)
	}
}

// What the node knew it knows after a start without etcd; what it does not know is not refused then, and not served.
func TestStartWithoutEtcd(t *testing.T) {
	h := newHarness(t)
	signer, text := signed(t)
	h.publish(signer)
	v := proofs.New(h.config)
	stop := run(v)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if kept, err := os.ReadFile(h.config.File); err == nil && strings.Contains(string(kept), signer.ID()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the keys are not kept")
		}
	}
	stop()
	h.etcd.Stop()
	v = proofs.New(h.config)
	if err := h.verify(v, text); err != nil {
		t.Error(err)
	}
	_, unknown := signed(t)
	var refusal *proof.Refusal
	if err := h.verify(v, unknown); err == nil || errors.As(err, &refusal) ||
		!strings.Contains(err.Error(), "etcd cannot be asked for newer keys") {
		t.Errorf("a key that may be a new one: %v", err)
	}
}

// A file that is damaged is none; keys in it that are not what they are named prove nothing.
func TestDamagedFile(t *testing.T) {
	h := newHarness(t)
	signer, text := signed(t)
	other, _ := signed(t)
	for _, kept := range []string{"{", `{"` + signer.ID() + `":{"key":` + string(other.Public()) + `}}`,
		`{"` + signer.ID() + `":null}`} {
		if err := os.WriteFile(h.config.File, []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
		var refusal *proof.Refusal
		if err := h.verify(proofs.New(h.config), text); !errors.As(err, &refusal) || refusal.Reason != proof.UnknownKey {
			t.Errorf("%s: %v", kept, err)
		}
	}
}

// A node that has never read the log judges nothing.
func TestNoLog(t *testing.T) {
	h := newHarness(t)
	h.config.Generation = func(context.Context) string { return "" }
	signer, text := signed(t)
	h.publish(signer)
	if err := h.verify(proofs.New(h.config), text); !errors.Is(err, proofs.ErrNoLog) {
		t.Error(err)
	}
}
