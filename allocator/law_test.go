package allocator

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// TestLaws draws configurations and commands and checks after each what must hold whatever happens.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newHarness()
		w.rules.StrictReuse = rapid.Bool().Draw(t, "strict")
		w.rules.PoolShare = rapid.SampledFrom([]int{0, 0, 50}).Draw(t, "scope")
		running := beginning(t, w)
		var snapshot bytes.Buffer
		var snapshotAt uint64
		for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
			if rapid.IntRange(0, 9).Draw(t, "stranger") == 0 {
				running.arrive(t, i)
			}
			cmd := running.possible(drawCommand(t, w))
			w.batched = rapid.Bool().Draw(t, "batched")
			before := len(w.records)
			running.before(cmd)
			_, result, err := w.do(cmd)
			running.after(t, cmd, result, err)
			if !w.batched || i%4 == 3 { // a walk over all addresses writes what is pending, so not always
				checkState(t, w, w.view())
			}
			if err == nil {
				checkRepeat(t, w, cmd)
			} else if len(w.records) != before && !partial(cmd) {
				t.Fatalf("%#v failed with %v, and wrote %d events", cmd, err, len(w.records)-before)
			}
			if i == 10 {
				w.batched = false
				w.settle()
				if err := w.db.View().Save(&snapshot); err != nil {
					t.Fatal(err)
				}
				snapshotAt = w.db.View().Position().Head.Seq
			}
			w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 20}).Draw(t, "seconds")) * time.Second)
		}
		w.batched = false
		w.settle()
		if snapshot.Len() > 0 {
			checkSnapshot(t, w, &snapshot, snapshotAt)
		}
	})
}

// partial commands may do a part of their work before they fail, as it takes several transactions.
func partial(cmd Command) bool {
	switch cmd.(type) {
	case SizePool, DeletePool, Claim, Reserve:
		return true
	default:
		return false
	}
}

var (
	lawConfigs = []string{
		`[{"nodeSubnets":["10.1.0.0/16"],"ips":["10.0.0.2~10.0.0.5","10.0.0.9"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1"},
		  {"nodeSubnets":["10.1.0.0/16","10.2.0.0/16"],"ips":["10.8.1.250~10.8.2.4"],"subnet":"10.8.0.0/22","gateway":"10.8.3.1"}]`,
		`[{"nodeSubnets":["10.1.0.0/16"],"ips":["10.0.0.2~10.0.0.4","10.0.0.7~10.0.0.12"],"subnet":"10.0.0.0/24","gateway":"10.0.0.1"},
		  {"nodeSubnets":["10.2.0.0/16"],"ips":["10.0.0.20~10.0.0.22"],"subnet":"10.0.0.0/24","gateway":"10.0.0.254"}]`,
		`[{"nodeSubnets":["10.1.0.0/16"],"ips":["fd00::fe~fd00::103"],"subnet":"fd00::/64","gateway":"fd00::1"}]`,
		`[]`,
	}
	lawNetworks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}
)

func drawCommand(t *rapid.T, w *harness) Command {
	kind := rapid.IntRange(0, 17).Draw(t, "command")
	if w.view().Config().Seq == 0 {
		kind = 0
	}
	switch kind {
	case 0:
		subnets, err := ipam.ParseConfig([]byte(rapid.SampledFrom(lawConfigs).Draw(t, "config")))
		if err != nil {
			t.Fatal(err)
		}
		return Configure{Source: "law", Subnets: subnets, Force: rapid.Bool().Draw(t, "force")}
	case 1:
		return Claim{Pod: drawPod(t), Candidates: rapid.SliceOfNDistinct(rapid.SampledFrom(lawNetworks), 1, 2,
			rapid.ID).Draw(t, "candidates")}
	case 2, 3:
		return EndPod{Pod: drawPod(t)}
	case 4:
		p := drawPod(t)
		return ChangeWorkload{Owner: p.Owner.AppLevel(), Workload: p.Workload}
	case 5:
		return SizePool{Pool: "p_1", Size: rapid.IntRange(0, 12).Draw(t, "size"),
			PreAllocate: rapid.Bool().Draw(t, "pre")}
	case 6:
		return DeletePool{Pool: "p_1"}
	case 7:
		return Reserve{
			Address: drawAddress(t), Owner: ipam.Owner{Pool: rapid.SampledFrom([]string{"p_1", "admin"}).Draw(t,
				"pool")},
			Labelled: rapid.Bool().Draw(t, "labelled"),
		}
	case 9:
		p := drawPod(t)
		return Expire{Pod: p.Owner, UID: p.UID}
	case 10:
		return Adopt{Pod: drawPod(t), Node: "n1", Address: drawAddress(t)}
	case 11:
		if rapid.Bool().Draw(t, "unassign") {
			return MarkUnassigned{Address: drawAddress(t), Node: "n1"}
		}
		return MarkAssigned{Address: drawAddress(t), Node: "n1"}
	case 8:
		addr := drawAddress(t)
		owner := ipam.Owner{Pool: "admin"}
		if a := w.view().Address(addr); a != nil {
			owner = a.Owner
		}
		return Release{Address: addr, Owner: owner, Labelled: rapid.Bool().Draw(t, "labelled")}
	case 16:
		p := drawPod(t)
		c := Import{Address: drawAddress(t), Owner: p.Owner, Policy: p.Policy}
		if c.Owner.App != "" && rapid.Bool().Draw(t, "kept") {
			c.Owner = c.Owner.Scope()
		}
		return c
	case 17:
		return MarkAdopted{}
	default:
		p := drawPod(t)
		return Bind{Pod: p, Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"),
			NodeNetwork: rapid.SampledFrom(lawNetworks).Draw(t, "network")}
	}
}

func drawPod(t *rapid.T) Pod {
	kind := rapid.SampledFrom([]string{ipam.KindDeployment, ipam.KindStatefulSet, "foo", ""}).Draw(t, "kind")
	p := Pod{
		Owner: ipam.Owner{Kind: kind, Namespace: "ns", Pod: fmt.Sprintf("pod-%d", rapid.IntRange(0, 2).Draw(t, "pod"))},
		Workload: Workload{
			Exists: rapid.Bool().Draw(t, "exists"), Scales: true, Replicas: rapid.IntRange(0, 5).Draw(t, "replicas"),
			Surge:   rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "surge"),
			Unknown: rapid.IntRange(0, 4).Draw(t, "unknown") == 0,
		},
		Policy: ipam.Policy(rapid.IntRange(0, 2).Draw(t, "policy")),
	}
	p.UID = p.Owner.Pod + rapid.SampledFrom([]string{"-u1", "-u2"}).Draw(t, "uid")
	if kind != "" {
		p.Owner.App = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app")
	}
	if rapid.IntRange(0, 2).Draw(t, "pooled") == 0 {
		p.Owner.Pool, p.Policy = "p_1", ipam.Never
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "ranges") {
		first := drawAddress(t)
		p.Ranges = append(p.Ranges, []ipam.Range{{First: first,
			Last: ipam.Plus(first, uint64(rapid.IntRange(0, 3).Draw(t, "width")))}})
	}
	return p
}

func drawAddress(t *rapid.T) netip.Addr {
	first := rapid.SampledFrom([]string{"10.0.0.2", "10.0.0.7", "10.0.0.20", "10.8.1.252", "10.8.2.0",
		"fd00::fe"}).Draw(t, "first")
	return ipam.Plus(netip.MustParseAddr(first), uint64(rapid.IntRange(0, 4).Draw(t, "offset")))
}

// checkState compares every count and every choice with what a plain walk over all rows finds.
func checkState(t *rapid.T, w *harness, view *projections.View) {
	config := view.Config()
	usages := make([]projections.Usage, len(config.Subnets)) // asked before the walk settles what is pending
	for i := range usages {
		usages[i] = view.Usage(i, w.now, w.rules.ReuseDelay)
	}
	held := map[netip.Addr]*projections.Address{}
	counts := map[ipam.Owner]projections.Scope{}
	for a := range view.Addresses(netip.Addr{}) {
		if held[a.Addr] != nil {
			t.Fatalf("%s is held twice", a.Addr)
		}
		held[a.Addr] = a
		if a.Labelled && (a.Node != "" || a.PodUID != "") {
			t.Fatalf("%s is reserved by label, and a pod has it", a.Addr)
		}
		if _, configured := config.SubnetOf(a.Addr); configured == a.Draining {
			t.Fatalf("%s: draining is %t, configured is %t", a.Addr, a.Draining, configured)
		}
		for _, scope := range slices.Compact([]ipam.Owner{a.Owner.AppLevel(), {Pool: a.Owner.Pool}}) {
			if scope.IsZero() {
				continue
			}
			c := counts[scope]
			c.Owner = scope
			c.Held++
			if a.Owner == scope {
				c.Reserved++
			}
			counts[scope] = c
		}
	}
	for scope, want := range counts {
		if got := view.Scope(scope); got != want {
			t.Fatalf("scope %q is %+v, counted %+v", scope, got, want)
		}
		if n := len(collect(view.Held(scope))); n != want.Held {
			t.Fatalf("%q holds %d by index, counted %d", scope, n, want.Held)
		}
	}
	for i := range config.Subnets {
		checkSubnet(t, w, view, i, usages[i], held)
	}
}

func collect(rows func(func(*projections.Address) bool)) []*projections.Address {
	return slices.Collect(rows)
}

func checkSubnet(t *rapid.T, w *harness, view *projections.View, i int, got projections.Usage,
	held map[netip.Addr]*projections.Address) {
	subnet := view.Config().Subnets[i]
	var usage projections.Usage
	var fresh, free []netip.Addr
	for _, r := range subnet.Ranges {
		for addr := r.First; r.Contains(addr); addr = addr.Next() {
			usage.Total++
			released := view.Released(addr)
			switch {
			case held[addr] != nil:
				usage.Held++
				if released != nil {
					t.Fatalf("%s is held and released", addr)
				}
			case released != nil && released.Cools(w.now, w.rules.ReuseDelay):
				usage.Cooling++
				free = append(free, addr)
			default:
				usage.Free++
				free = append(free, addr)
				if released == nil {
					fresh = append(fresh, addr)
				}
			}
		}
	}
	if got != usage {
		t.Fatalf("usage of %s is %+v, counted %+v", subnet.Prefix, got, usage)
	}
	if got := slices.Collect(view.Fresh(i)); !slices.Equal(got, fresh) {
		t.Fatalf("fresh of %s: %v, counted %v", subnet.Prefix, got, fresh)
	}
	for _, r := range subnet.Ranges {
		var want []netip.Addr
		for _, addr := range free {
			if r.Contains(addr) {
				want = append(want, addr)
			}
		}
		if got := slices.Collect(view.FreeIn(i, r)); !slices.Equal(got, want) {
			t.Fatalf("free in %s: %v, counted %v", r, got, want)
		}
	}
}

// checkRepeat is idempotence: what was asked for is so, and asking again changes nothing.
func checkRepeat(t *rapid.T, w *harness, cmd Command) {
	if sized, ok := cmd.(SizePool); ok && sized.PreAllocate && w.rules.StrictReuse {
		return // addresses that the pool gave up just now come back when their delay is over
	}
	if _, ok := cmd.(DeletePool); ok {
		return // it reports that there is no pool
	}
	if again, _, err := w.do(cmd); err != nil || again != "" {
		t.Fatalf("%#v, repeated: %v\n%s", cmd, err, again)
	}
}

// checkSnapshot is fold(snapshot + tail) = fold(all), in what is stored and in what is derived.
func checkSnapshot(t *rapid.T, w *harness, snapshot *bytes.Buffer, at uint64) {
	db, err := projections.Restore(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	all := projections.New("g")
	fold(t, db, w.records[at:])
	fold(t, all, w.records)
	want := w.db.View()
	for name, got := range map[string]*projections.View{"snapshot and tail": db.View(), "all events": all.View()} {
		if got.Digest() != want.Digest() {
			t.Fatalf("%s give another state", name)
		}
		checkState(t, w, got)
	}
}

func fold(t *rapid.T, db *projections.DB, records []eventlog.Record) {
	txn := db.Write()
	for _, r := range records {
		if _, err := txn.FoldRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	txn.Commit()
}
