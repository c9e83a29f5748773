package objects_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/objects"
)

// What PodsSince and WorkloadsSince find by the journal is what a comparison of whole Sets finds, however the Sets were
// made, and a Set never changes.
func TestSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := []*objects.Set{objects.Live()}
		var seen []string
		for range rapid.IntRange(1, 12).Draw(t, "edits") {
			e := sets[len(sets)-1].Edit()
			for range rapid.SampledFrom([]int{0, 1, 2, 3, 3000}).Draw(t, "changes") {
				drawEdit(t, e)
			}
			seen = append(seen, describe(sets[len(sets)-1]))
			sets = append(sets, e.Done(time.Unix(int64(len(sets)), 0)))
		}
		for i, was := range seen {
			if now := describe(sets[i]); now != was {
				t.Fatalf("Set %d was\n%s\nand is\n%s", i, was, now)
			}
		}
		newest := sets[len(sets)-1]
		for i, old := range sets {
			checkPods(t, i, old, newest)
			checkWorkloads(t, i, old, newest)
		}
	})
}

func drawEdit(t *rapid.T, e *objects.Edit) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	uid := rapid.SampledFrom([]string{"1", "2"}).Draw(t, "uid")
	owner := ipam.Owner{Kind: "deployment", Namespace: "ns", App: name}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0, 1:
		e.PutPod(&kube.Pod{Namespace: "ns", Name: name, UID: name + uid})
	case 2:
		e.DropPod("ns", name, name+uid)
	case 3:
		e.PutWorkload(owner, allocator.Workload{Exists: true, Replicas: rapid.IntRange(0, 2).Draw(t, "replicas")})
	case 4:
		e.DropWorkload(owner)
	case 5:
		e.PutNode(&kube.Node{Name: name})
	}
}

func describe(s *objects.Set) string {
	text := ""
	for pod := range s.Pods() {
		text += fmt.Sprintf("%s %s %v\n", pod, pod.UID, s.PodByUID(pod.UID) == pod)
	}
	for owner, w := range s.Workloads() {
		text += fmt.Sprintf("%s %+v\n", owner, w)
	}
	for node := range s.Nodes() {
		text += node.Name + "\n"
	}
	return text + fmt.Sprint(s.Len())
}

func checkPods(t *rapid.T, i int, old, newest *objects.Set) {
	var want, got []string
	for pod := range old.Pods() {
		if newest.Pod(pod.Namespace, pod.Name) != pod {
			want = append(want, pod.UID)
		}
	}
	for pod := range newest.PodsSince(old) {
		got = append(got, pod.UID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("pods since Set %d: %v, want %v", i, got, want)
	}
}

func checkWorkloads(t *rapid.T, i int, old, newest *objects.Set) {
	for owner := range newest.WorkloadsSince(old) {
		if newest.Workload(owner) == old.Workload(owner) {
			t.Fatalf("since Set %d %s has not changed", i, owner)
		}
	}
	changed := slices.Collect(newest.WorkloadsSince(old))
	for owner, was := range old.Workloads() {
		if newest.Workload(owner) != was && !slices.Contains(changed, owner) {
			t.Fatalf("since Set %d %s has changed", i, owner)
		}
	}
}

// A Set of one lineage says nothing about one of another.
func TestSinceAnotherSource(t *testing.T) {
	file, err := objects.Parse([]byte("kind: Pod\nmetadata: {name: p, namespace: ns, uid: u}"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e := objects.Live().Edit()
	e.PutPod(&kube.Pod{Namespace: "ns", Name: "q", UID: "v"})
	live := e.Done(time.Now())
	if gone := slices.Collect(live.PodsSince(file)); len(gone) != 1 || gone[0].UID != "u" {
		t.Errorf("pods since the file: %v", gone)
	}
	if gone := slices.Collect(file.PodsSince(live)); len(gone) != 1 || gone[0].UID != "v" {
		t.Errorf("pods since the live source: %v", gone)
	}
}

func TestUnknownKinds(t *testing.T) {
	e := objects.Live().Edit()
	e.Watches("tapp", true)
	set := e.Done(time.Now())
	if w := set.Workload(ipam.Owner{Kind: "tapp", Namespace: "ns", App: "gone"}); w.Unknown || w.Exists {
		t.Errorf("a workload of a watched kind: %+v", w)
	}
	if w := set.Workload(ipam.Owner{Kind: "foo", Namespace: "ns", App: "x"}); !w.Unknown {
		t.Errorf("a workload of a kind that nobody watches: %+v", w)
	}
}

// A Set knows which pods show an address, through all changes, and lets go of those that have ended.
func TestSeen(t *testing.T) {
	addr := netip.MustParseAddr("10.1.0.2")
	pod := func(name, uid string, edit func(*kube.Pod)) *kube.Pod {
		p := &kube.Pod{Namespace: "ns", Name: name, UID: uid, Node: "n", Phase: "Running", Wants: true}
		p.AddIP("10.1.0.2")
		if edit != nil {
			edit(p)
		}
		return p
	}
	uids := func(s *objects.Set) string {
		var all []string
		for _, seen := range s.Occupants(addr) {
			all = append(all, seen.UID)
		}
		return strings.Join(all, " ")
	}
	set := objects.Live()
	step := func(want string, change func(*objects.Edit)) {
		t.Helper()
		e := set.Edit()
		change(e)
		before, was := set, uids(set)
		set = e.Done(time.Now())
		if got := uids(set); got != want {
			t.Errorf("seen by %q, want %q", got, want)
		}
		if uids(before) != was {
			t.Error("the Set before has changed")
		}
	}
	step("a", func(e *objects.Edit) { e.PutPod(pod("one", "a", nil)); e.PutNode(&kube.Node{Name: "n"}) })
	step("a b", func(e *objects.Edit) { e.PutPod(pod("two", "b", nil)) })
	step("b c", func(e *objects.Edit) { e.PutPod(pod("one", "c", nil)) }) // another of its name
	step("c", func(e *objects.Edit) { e.PutPod(pod("two", "b", func(p *kube.Pod) { p.Phase = kube.PhaseSucceeded })) })
	step("c", func(e *objects.Edit) { e.PutPod(pod("one", "c", func(p *kube.Pod) { p.Deleting = true })) })
	// nobody will say that it has stopped
	step("", func(e *objects.Edit) { e.DropNode("n"); e.PutNode(&kube.Node{Name: "other"}) })
	step("c", func(e *objects.Edit) { e.PutPod(pod("one", "c", nil)) })
	step("", func(e *objects.Edit) { e.DropPod("ns", "one", "c") })
}
