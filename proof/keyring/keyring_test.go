package keyring_test

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

func newKey(t *testing.T, by string) (string, keyring.Key) {
	t.Helper()
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer.ID(), keyring.Key{Key: signer.Public(), Since: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), By: by}
}

// Who watches sees each key that is published, and none that was removed; one that is not what it is named is not used,
// and said.
func TestKeys(t *testing.T) {
	client, ctx := etcdtest.Start(t).Client(t), etcdtest.Context(t)
	ring := keyring.Keyring{Client: client, Prefix: keyring.Prefix("/galaxy")}
	first, firstKey := newKey(t, "one")
	second, secondKey := newKey(t, "two")
	steps := []struct {
		do   func() error
		want []string
		says string
	}{
		{func() error { return ring.Publish(ctx, first, firstKey) }, []string{first}, ""},
		{func() error { return ring.Publish(ctx, first, firstKey) }, []string{first}, ""},
		{func() error { return ring.Publish(ctx, second, secondKey) }, []string{first, second}, ""},
		{func() error { return ring.Publish(ctx, second, firstKey) }, []string{first}, "under another name"},
		{func() error {
			_, err := client.Put(ctx, ring.Prefix+second, "{")
			return err
		}, []string{first}, second},
		{func() error { return ring.Remove(ctx, first) }, nil, ""},
		{func() error { return ring.Remove(ctx, first) }, nil, ""},
	}
	at := 0
	for keys, err := range ring.Watch(ctx) {
		if keys == nil {
			t.Fatal(err)
		}
		if at > 0 {
			want := slices.Sorted(slices.Values(steps[at-1].want))
			if got := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, want) || len(keys.Ring()) != len(want) {
				t.Fatalf("after step %d: %v, want %v", at, got, want)
			}
			if says := steps[at-1].says; (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("after step %d: %v, want %q", at, err, says)
			}
		}
		if at == len(steps)-1 { // the last changes nothing, and is not seen
			break
		}
		if err := steps[at].do(); err != nil {
			t.Fatal(err)
		}
		at++
	}
	if err := steps[at].do(); err != nil {
		t.Error(err)
	}
	if err := ring.Publish(ctx, first, firstKey); err != nil {
		t.Fatal(err)
	}
	keys, err := ring.Read(ctx)
	if err == nil || !strings.Contains(err.Error(), second) || len(keys) != 1 || keys[first].By != "one" ||
		!keys[first].Since.Equal(firstKey.Since) {
		t.Errorf("read are %+v, %v", keys, err)
	}
}
