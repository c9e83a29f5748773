package proofs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/eventlog/memlog"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
	"galaxy/proof"
	"galaxy/proof/keyring"
)

// memKeys are keys in memory.
type memKeys struct {
	mu      sync.Mutex
	keys    keyring.Keys
	changed chan struct{}
	refuse  error
}

func newMemKeys() *memKeys { return &memKeys{keys: keyring.Keys{}, changed: make(chan struct{})} }

func (m *memKeys) edit(change func(keyring.Keys)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return m.refuse
	}
	m.keys = maps.Clone(m.keys)
	change(m.keys)
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

func (m *memKeys) setRefuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

func (m *memKeys) Publish(_ context.Context, id string, key keyring.Key) error {
	return m.edit(func(k keyring.Keys) { k[id] = key })
}

func (m *memKeys) Remove(_ context.Context, id string) error {
	return m.edit(func(k keyring.Keys) { delete(k, id) })
}

func (m *memKeys) now() (keyring.Keys, chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys, m.changed
}

func (m *memKeys) Watch(ctx context.Context) iter.Seq2[keyring.Keys, error] {
	return func(yield func(keyring.Keys, error) bool) {
		for {
			keys, changed := m.now()
			if !yield(keys, nil) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
		}
	}
}

// harness is a replica with a subnet, a cluster of pods, and what signs for them.
type harness struct {
	*testing.T
	replica *allocator.Replica
	log     *memlog.Log
	keys    *memKeys
	proofs  *Keeper

	mu     sync.Mutex
	set    *objects.Set
	proven []string
	fails  error // of Prove
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{T: t, log: memlog.New(), keys: newMemKeys()}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if h.set, err = objects.Parse(nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	h.replica, err = allocator.NewReplica(ctx, allocator.Config{Log: h.log, Actor: "test", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.replica.Lead(ctx, eventlog.Fence{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for !h.replica.Leading() {
		time.Sleep(time.Millisecond)
	}
	h.configure("10.0.0.1", 0)
	h.proofs = &Keeper{Replica: h.replica, Source: h, Known: func() bool { return true }, Keys: h.keys, Prove: h.prove,
		Actor: "test", Lifetime: 24 * time.Hour, Explain: func(err error) error { return err }, Log: zap.NewNop()}
	return h
}

func (h *harness) configure(gateway string, vlan int) {
	h.Helper()
	subnets, err := ipam.ParseConfig([]byte(fmt.Sprintf(`[{"nodeSubnets":["10.49.0.0/16"],"ips":["10.0.0.2~10.0.0.9"],`+
		`"subnet":"10.0.0.0/24","gateway":%q,"vlan":%d}]`, gateway, vlan)))
	if err != nil {
		h.Fatal(err)
	}
	h.do(allocator.Configure{Source: "test", Subnets: subnets, Force: true})
}

func (h *harness) do(command allocator.Command) allocator.Result {
	h.Helper()
	result, err := h.replica.Do(context.Background(), "test", command)
	if err != nil {
		h.Fatal(err)
	}
	return result
}

func (h *harness) Set() *objects.Set {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set
}

// signed are the uids of the pods that were signed anew.
func (h *harness) signed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.proven)
}

func (h *harness) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = err
}

// prove shows a proof on a pod, as a cluster does.
func (h *harness) prove(_ context.Context, pod *kube.Pod, infos []ipam.IPInfo, text string) error {
	h.mu.Lock()
	failed := h.fails
	if failed == nil {
		h.proven = append(h.proven, pod.UID)
	}
	h.mu.Unlock()
	if failed == nil {
		h.put(pod.UID, infos, text)
	}
	return failed
}

// put makes a pod with a uid show addresses and a proof.
func (h *harness) put(uid string, infos []ipam.IPInfo, text string) {
	h.Helper()
	args, err := ipam.PodArgs{IPInfos: infos}.Text()
	if err != nil {
		h.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	edit := h.set.Edit()
	edit.PutPod(&kube.Pod{Namespace: "ns", Name: "web-" + uid, UID: uid, Node: "a", Wants: true, Args: args, Proof: text,
		Owner: kube.OwnerRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", Controller: true}})
	h.set = edit.Done(time.Now())
}

// bind gives a pod an address, and has it show that with a proof.
func (h *harness) bind(uid string, sign func(infos []ipam.IPInfo) string) ipam.IPInfo {
	h.Helper()
	result := h.do(allocator.Bind{Node: "a", NodeNetwork: h.replica.View().Config().NodeNetworks()[0],
		Pod: allocator.Pod{Owner: ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "ns", App: "web", Pod: "web-" + uid},
			UID: uid, Workload: allocator.Workload{Exists: true, Scales: true, Replicas: 9}}})
	info := result.Grants[0].Info()
	h.put(uid, []ipam.IPInfo{info}, sign([]ipam.IPInfo{info}))
	return info
}

func nothing([]ipam.IPInfo) string { return "" }

// Which pods are signed anew: those that show just what the log says, and prove it not.
func TestUnprovenPods(t *testing.T) {
	h := newHarness(t)
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(signer.ID(), signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	by := func(uid, node, generation string) func([]ipam.IPInfo) string {
		return func(infos []ipam.IPInfo) string {
			text, err := signer.Sign(proof.Binding{Generation: generation, Seq: 1, PodUID: uid, Node: node, IPs: infos})
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	generation := h.replica.View().Position().Head.Generation
	h.bind("proven", by("proven", "a", generation))
	h.bind("bare", nothing)
	h.bind("former", by("former", "a", "before"))
	h.bind("copied", by("proven", "a", generation))
	edited := h.bind("edited", nothing)
	edited.IP = h.bind("victim", nothing).IP
	h.put("edited", []ipam.IPInfo{edited}, "")
	h.put("silent", nil, "")
	h.put("stranger", []ipam.IPInfo{edited}, "")
	find := func() (uids []string) {
		for _, u := range unprovenPods(h.Set().Pods(), h.replica.View(), proof.Ring{signer.ID(): key}) {
			uids = append(uids, u.pod.UID)
		}
		slices.Sort(uids)
		return uids
	}
	if got := strings.Join(find(), " "); got != "bare copied former victim" {
		t.Errorf("to be signed are %s", got)
	}
	// What the log says has changed: the proof of the former is not that of the latter.
	h.configure("10.0.0.254", 7)
	for _, u := range unprovenPods(h.Set().Pods(), h.replica.View(), proof.Ring{signer.ID(): key}) {
		if u.infos[0].VLAN != 7 || u.infos[0].Gateway.String() != "10.0.0.254" {
			t.Errorf("%s is signed %+v", u.pod.UID, u.infos)
		}
	}
	if got := strings.Join(find(), " "); got != "bare copied former proven victim" {
		t.Errorf("after a change of the subnet, to be signed are %s", got)
	}
}

// A key goes when no pod has shown a proof by it for a while, and it is not new; the own one stays.
func TestSpareKeys(t *testing.T) {
	h := newHarness(t)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	keys, texts := keyring.Keys{}, map[string]string{}
	var own, shown, spare, fresh string
	for name, id := range map[string]*string{"own": &own, "shown": &shown, "spare": &spare, "fresh": &fresh} {
		signer, err := proof.NewSigner(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*id = signer.ID()
		since := now.Add(-48 * time.Hour)
		if name == "fresh" {
			since = now
		}
		keys[*id] = keyring.Key{Key: signer.Public(), Since: since}
		texts[*id], err = signer.Sign(proof.Binding{Generation: "g", PodUID: "u", Node: "a",
			IPs: []ipam.IPInfo{{IP: h.replica.View().Config().Subnets[0].Prefix}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.put("u", nil, texts[shown])
	unused := map[string]time.Time{}
	at := func(after time.Duration) []string {
		return spareKeys(keys, h.Set().Pods(), own, unused, now.Add(after))
	}
	if got := at(0); len(got) > 0 {
		t.Errorf("at once %v", got)
	}
	if got := at(keyUnusedFor - time.Second); len(got) > 0 {
		t.Errorf("too soon %v", got)
	}
	if got := at(keyUnusedFor); !slices.Equal(got, []string{spare}) {
		t.Errorf("spare are %v, want %s", got, spare)
	}
	h.put("u", nil, texts[spare]) // a pod that was bound late
	if got := at(keyUnusedFor + time.Second); len(got) > 0 {
		t.Errorf("a key that is shown again goes: %v", got)
	}
	if got := at(2*keyUnusedFor + time.Second); !slices.Equal(got, []string{shown}) {
		t.Errorf("spare are %v, want %s", got, shown)
	}
	if got := at(2 * time.Hour); !slices.Contains(got, fresh) || slices.Contains(got, own) || len(got) != 2 {
		t.Errorf("spare are %v", got)
	}
}

// A term publishes a key before it signs; what runs without a proof gets one, a failure is tried again, a key that is
// old or taken away is replaced, and no pod is refused for that.
func TestProofsOfATerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.keys.setRefuse(errors.New("permission denied"))
		info := h.bind("u1", nothing)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = h.proofs.Run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		time.Sleep(3 * time.Second)
		pod := h.Set().PodByUID("u1")
		if _, err := h.proofs.Sign(pod, "a", []ipam.IPInfo{info}, 1); !errors.Is(err, ErrNoKey) ||
			!strings.Contains(h.proofs.Unready(), "permission denied") {
			t.Errorf("without a key: %v, %q", err, h.proofs.Unready())
		}
		h.keys.setRefuse(nil)
		h.fail(errors.New("the API server is away"))
		time.Sleep(40 * time.Second)
		if h.proofs.Unready() != "" || len(h.signed()) > 0 {
			t.Errorf("%q, proven %v", h.proofs.Unready(), h.signed())
		}
		h.fail(nil)
		time.Sleep(time.Minute)
		proven := func(when string) {
			t.Helper()
			keys, _ := h.keys.now()
			pod := h.Set().PodByUID("u1")
			if _, err := keys.Ring().Verify(proof.Claim{Proof: pod.Proof, IPs: []ipam.IPInfo{info}, PodUID: "u1", Node: "a",
				Generation: h.replica.View().Position().Head.Generation}); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		proven("in a new term")
		first := h.proofs.signing.Load().ID()
		time.Sleep(25 * time.Hour)
		second := h.proofs.signing.Load().ID()
		if keys, _ := h.keys.now(); first == second || len(keys) != 2 || len(h.signed()) != 1 {
			t.Errorf("after its lifetime the key is the same: %t; %d keys, signed %v", first == second, len(keys), h.signed())
		}
		proven("by the former key")
		for _, id := range []string{first, second} {
			if err := h.keys.Remove(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		proven("after the keys were taken away")
		if keys, _ := h.keys.now(); len(keys) != 1 || keys[second].By != "" || len(h.signed()) != 2 {
			t.Errorf("%d keys, signed %v", len(keys), h.signed())
		}
		time.Sleep(20 * time.Minute)
		if len(h.signed()) != 2 {
			t.Errorf("what is proven was signed again: %v", h.signed())
		}
	})
}
