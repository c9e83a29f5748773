package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// TestScenarios plays the stories in testdata. Each command is decided on the state that the ones before it left; its
// output is the events it produced and its response. `go test ./allocator -rewrite` renews them: read the diff.
//
//	config [force]                 the input is floatingip-config
//	node name=n ip=a               a node of the cluster
//	workload app=web [kind= ns= replicas= surge= spare= start= gone noscale unknown]   what the cluster says of a workload
//	filter pod=p app=web [kind= ns= uid= policy= pool= ranges=] nodes=a,b
//	bind … node=a    end …    changed app=web    pool name= size= [preallocate]    unpool name=
//	expire pod= …    adopt pod= … node= ip=    assigned ip= node=    unassigned ip= node=
//	reserve ip= … [labelled]    release ip= … [labelled]    wait 31s    state    usage
//	seen ip= uid= [annotation]     a pod shows an address: in its status, or in its annotation alone;   unseen ip=
//	former objects=n    import ip= … [uid= node= labelled]    resolved as=imported|discarded    adopted
//
// On the streams of the overlay:
//
//	overlay                        the input is a list of overlay networks
//	join node= ip= [machine=]      lose node=    leave node=    nodes
//	subnets node-subnet…           attach container= pod= [if=]    detach container= [if=]
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newHarness()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return w.play(t, d)
		})
	})
}

// harness is a log in memory, its projection, and a cluster that says what the scenario has it say.
type harness struct {
	db        *projections.DB
	now       time.Time
	rules     Rules
	nodes     map[string]netip.Addr
	workloads map[ipam.Owner]Workload
	seen      occupants
	records   []eventlog.Record

	open    *projections.Txn // the batch that commands are decided in; nil: each has its own
	batched bool             // leave the batch open
}

func newHarness() *harness {
	return &harness{
		db:        projections.New("g"),
		now:       time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		rules:     Rules{ReuseDelay: DefaultReuseDelay},
		nodes:     map[string]netip.Addr{},
		workloads: map[ipam.Owner]Workload{},
		seen:      occupants{},
	}
}

// occupants are a cluster's pods by the addresses that they show.
type occupants map[netip.Addr][]Occupant

func (s occupants) Occupants(addr netip.Addr) []Occupant { return s[addr] }

func (w *harness) env() Env { return Env{Now: w.now, Rules: w.rules, MaxEvents: 8, Occupants: w.seen} }

// do decides a command as a leader does, repetitions included, and returns the events as text.
func (w *harness) do(cmd Command) (string, Result, error) {
	var text strings.Builder
	for {
		if w.open == nil {
			w.open = w.db.Write()
		}
		txn := w.open
		events, result, err := Decide(&txn.View, cmd, w.env())
		if err != nil {
			w.settle()
			return text.String(), result, err
		}
		cursor := txn.Cursor()
		for _, data := range events {
			e, r, err := cursor.Write(w.now, "test", "", data)
			if err == nil {
				err = txn.Fold(e, cursor.Head.Hash)
			}
			if err != nil {
				panic(fmt.Errorf("decided on what cannot be: %w", err))
			}
			w.records = append(w.records, r)
			fmt.Fprintln(&text, eventText(e))
		}
		w.settle()
		if !result.More {
			return text.String(), result, nil
		}
	}
}

// settle ends the batch, unless it is to stay open.
func (w *harness) settle() {
	if w.open != nil && !w.batched {
		w.open.Commit()
		w.open = nil
	}
}

// view is the state after the last command, the open batch included.
func (w *harness) view() *projections.View {
	if w.open != nil {
		return &w.open.View
	}
	return w.db.View()
}

func eventText(e eventlog.Event) string {
	head := fmt.Sprintf("%d %s", e.Seq, e.Data.Type())
	switch d := e.Data.(type) {
	case *eventlog.SubnetsConfigured:
		text := fmt.Sprintf("%s %d subnets", head, len(d.Subnets))
		for _, x := range d.Draining {
			text += fmt.Sprintf(", drains %s of %s", x.Address, x.Owner)
		}
		return text
	case *eventlog.AddressAllocated:
		text := fmt.Sprintf("%s %s of %s to %s %s%s", head, d.Address, d.Subnet, d.Owner, d.Policy,
			where(d.PodUID, d.Node))
		if d.ContainerID != "" {
			text += " for " + d.ContainerID + "/" + d.IfName
		}
		if d.Reason != "" {
			text += " (" + d.Reason + ")"
		}
		return text
	case *eventlog.AddressBound:
		return fmt.Sprintf("%s %s to %s %s%s", head, d.Address, d.Owner, d.Policy, where(d.PodUID, d.Node))
	case *eventlog.AddressReserved:
		return fmt.Sprintf("%s %s for %s %s%s (%s)", head, d.Address, d.Owner, d.Policy, where(d.PodUID, ""), d.Reason)
	case *eventlog.AddressReleased:
		return fmt.Sprintf("%s %s by %s (%s)", head, d.Address, d.Owner, d.Reason)
	case *eventlog.AddressAssigned:
		return fmt.Sprintf("%s %s to %s", head, d.Address, d.Node)
	case *eventlog.AddressUnassigned:
		return fmt.Sprintf("%s %s from %s", head, d.Address, d.Node)
	case *eventlog.PoolSized:
		return fmt.Sprintf("%s %s %d", head, d.Pool, d.Size)
	case *eventlog.PoolDeleted:
		return fmt.Sprintf("%s %s", head, d.Pool)
	case *eventlog.FormerObjectsFound:
		return fmt.Sprintf("%s %d of %s", head, d.Objects, d.Source)
	case *eventlog.FormerObjectsResolved:
		return fmt.Sprintf("%s %s of %s, %d left", head, d.Outcome, d.Source, d.Left)
	case *eventlog.RunningPodsAdopted:
		return fmt.Sprintf("%s in %s", head, d.Generation)
	default:
		return head + nodeEventText(e.Data)
	}
}

func where(uid, node string) string {
	text := ""
	if uid != "" {
		text += " uid=" + uid
	}
	if node != "" {
		text += " on " + node
	}
	return text
}

func (w *harness) play(t *testing.T, d *datadriven.TestData) string {
	args := map[string]string{}
	for _, arg := range d.CmdArgs {
		args[arg.Key] = strings.Join(arg.Vals, ",")
	}
	_, forced := args["force"]
	_, labelled := args["labelled"]
	switch d.Cmd {
	case "config":
		subnets, err := ipam.ParseConfig([]byte(d.Input))
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return w.respond(Configure{Source: "test", Subnets: subnets, Force: forced})
	case "node":
		w.nodes[args["name"]] = netip.MustParseAddr(args["ip"])
		return ""
	case "workload":
		w.workloads[owner(args).AppLevel()] = workload(args)
		return ""
	case "filter":
		return w.filter(w.pod(t, args), strings.Split(args["nodes"], ","))
	case "bind":
		network, _ := w.networkOf(args["node"])
		return w.respond(Bind{Pod: w.pod(t, args), Node: args["node"], NodeNetwork: network})
	case "expire":
		p := w.pod(t, args)
		return w.respond(Expire{Pod: p.Owner, UID: p.UID})
	case "adopt":
		return w.respond(Adopt{Pod: w.pod(t, args), Node: args["node"], Address: netip.MustParseAddr(args["ip"])})
	case "assigned":
		return w.respond(MarkAssigned{Address: netip.MustParseAddr(args["ip"]), Node: args["node"]})
	case "unassigned":
		return w.respond(MarkUnassigned{Address: netip.MustParseAddr(args["ip"]), Node: args["node"]})
	case "end":
		return w.respond(EndPod{Pod: w.pod(t, args)})
	case "changed":
		o := owner(args).AppLevel()
		return w.respond(ChangeWorkload{Owner: o, Workload: w.workloads[o]})
	case "pool":
		size, _ := strconv.Atoi(args["size"])
		_, pre := args["preallocate"]
		text, result, err := w.do(SizePool{Pool: args["name"], Size: size, PreAllocate: pre})
		return text + orError(fmt.Sprintf("holds %d\n", result.Held), err)
	case "unpool":
		return w.respond(DeletePool{Pool: args["name"]})
	case "reserve":
		return w.respond(Reserve{Address: netip.MustParseAddr(args["ip"]), Owner: owner(args),
			Reason: ReasonAdministrator, Labelled: labelled})
	case "release":
		return w.respond(Release{Address: netip.MustParseAddr(args["ip"]), Owner: owner(args),
			Reason: ReasonAdministrator, Labelled: labelled})
	case "seen":
		_, annotation := args["annotation"]
		addr := netip.MustParseAddr(args["ip"])
		w.seen[addr] = append(w.seen[addr], Occupant{Pod: "ns1/" + args["uid"], UID: args["uid"],
			ByKubelet: !annotation})
		return ""
	case "unseen":
		delete(w.seen, netip.MustParseAddr(args["ip"]))
		return ""
	case "former":
		n, _ := strconv.Atoi(args["objects"])
		return w.respond(FindFormer{Source: "galaxy", Objects: n})
	case "import":
		policy := map[string]ipam.Policy{"": ipam.ReleaseOnDelete, "immutable": ipam.Immutable,
			"never": ipam.Never}[args["policy"]]
		return w.respond(Import{Address: netip.MustParseAddr(args["ip"]), Owner: owner(args), PodUID: args["uid"],
			Node: args["node"], Policy: policy, Labelled: labelled})
	case "resolved":
		return w.respond(ResolveFormer{Source: "galaxy", Outcome: eventlog.FormerOutcome(args["as"]),
			Objects: w.view().Origin().Objects})
	case "adopted":
		return w.respond(MarkAdopted{})
	case "rules":
		_, w.rules.StrictReuse = args["strict"]
		w.rules.PoolShare, _ = strconv.Atoi(args["share"])
		return ""
	case "wait":
		delay, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(delay)
		return ""
	case "state":
		return w.state()
	case "usage":
		return w.usage()
	default:
		text, known := w.playNodes(t, d, args)
		if !known {
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		}
		return text
	}
}

func (w *harness) respond(cmd Command) string {
	text, result, err := w.do(cmd)
	var grants []string
	for _, g := range result.Grants {
		grants = append(grants, g.Address.String())
	}
	if err == nil && len(grants) > 0 {
		text += "holds " + strings.Join(grants, " ") + "\n"
	}
	return orError(text, err)
}

func orError(text string, err error) string {
	if err != nil {
		return text + "error: " + err.Error() + "\n"
	}
	if text == "" {
		return "nothing\n"
	}
	return text
}

func (w *harness) networkOf(node string) (netip.Prefix, bool) {
	config := w.db.View().Config()
	i, ok := config.NodeNetworkOf(w.nodes[node])
	if !ok {
		return netip.Prefix{}, false
	}
	return config.NodeNetworks()[i], true
}

// filter does what the extender does: a claim where the response asks for one.
func (w *harness) filter(pod Pod, nodes []string) string {
	view := w.db.View()
	networkOf := map[string]netip.Prefix{}
	var candidates []netip.Prefix
	for _, node := range nodes {
		if network, ok := w.networkOf(node); ok {
			networkOf[node] = network
			if !slices.Contains(candidates, network) {
				candidates = append(candidates, network)
			}
		}
	}
	response, err := Filter(view, pod, candidates, w.env())
	text := ""
	if err == nil && response.Claim {
		var result Result
		text, result, err = w.do(Claim{Pod: pod, Candidates: candidates})
		for _, n := range candidates {
			if len(result.Grants) > 0 && result.Grants[0].Subnet.Serves(n) {
				response.Networks = append(response.Networks, n)
			}
		}
		if exhausted := (*ExhaustedError)(nil); errors.As(err, &exhausted) {
			err = nil
		}
	}
	if err != nil {
		return text + "error: " + err.Error() + "\n"
	}
	var pass []string
	for _, node := range nodes {
		if slices.Contains(response.Networks, networkOf[node]) {
			pass = append(pass, node)
		}
	}
	return text + "nodes: " + strings.Join(pass, " ") + "\n"
}

func owner(args map[string]string) ipam.Owner {
	o := ipam.Owner{Kind: args["kind"], Namespace: args["ns"], App: args["app"], Pod: args["pod"], Pool: args["pool"]}
	if o.Kind == "" && o.App != "" {
		o.Kind = ipam.KindDeployment
	}
	if o.Namespace == "" && (o.App != "" || o.Pod != "") {
		o.Namespace = "ns1"
	}
	return o
}

func workload(args map[string]string) Workload {
	_, gone := args["gone"]
	_, fixed := args["noscale"]
	w := Workload{Exists: !gone, Scales: !fixed && !gone}
	w.Replicas, _ = strconv.Atoi(args["replicas"])
	w.Start, _ = strconv.Atoi(args["start"])
	w.Surge, _ = strconv.Atoi(args["surge"])
	w.Spare, _ = strconv.Atoi(args["spare"])
	_, w.Unknown = args["unknown"]
	return w
}

func (w *harness) pod(t *testing.T, args map[string]string) Pod {
	p := Pod{Owner: owner(args), UID: args["uid"], Policy: ipam.PolicyOf(args["policy"], args["pool"])}
	if p.UID == "" {
		p.UID = "u-" + p.Owner.Pod
	}
	app := p.Owner.AppLevel()
	app.Pool = ""
	p.Workload = w.workloads[app]
	if text := args["ranges"]; text != "" {
		// ranges=10.0.0.1~10.0.0.3|10.0.0.9;10.0.0.4: elements by ";", alternatives by "|"
		for element := range strings.SplitSeq(text, ";") {
			var ranges []ipam.Range
			for alternative := range strings.SplitSeq(element, "|") {
				r, err := ipam.ParseRange(alternative)
				if err != nil {
					t.Fatal(err)
				}
				ranges = append(ranges, r)
			}
			p.Ranges = append(p.Ranges, ranges)
		}
	}
	return p
}

func (w *harness) state() string {
	var lines []string
	for a := range w.db.View().Addresses(netip.Addr{}) {
		line := fmt.Sprintf("%s %s %s %s%s", a.Addr, a.State(), a.Owner, a.Policy, where(a.PodUID, a.Node))
		if a.Labelled {
			line += " labelled"
		}
		if a.Assigned != "" {
			line += " assigned to " + a.Assigned
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return "nothing held\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

func (w *harness) usage() string {
	view := w.db.View()
	var lines []string
	for i, s := range view.Config().Subnets {
		u := view.Usage(i, w.now, w.rules.ReuseDelay)
		lines = append(lines, fmt.Sprintf("%s gateway %s: total %d held %d cooling %d free %d", s.Prefix, s.Gateway,
			u.Total, u.Held, u.Cooling, u.Free))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}
