package integration

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

const module = "galaxy/"

// A rule says what a room may import of ours, beside its own folders. All arrows lead down to the vocabulary and never
// back.
type rule struct {
	room    string
	imports []string // a room; "/..." after it takes the folders under it in
	why     string
}

// rules are the rooms; see docs/ARCHITECTURE.md. A room that is not here has the rule of the room above it.
var rules = []rule{
	{"ipam", nil, "the vocabulary stands at the bottom"},
	{"eventlog", []string{"ipam"}, "the contract of the log knows no log"},
	{"eventlog/etcdlog", []string{"eventlog", "pause"},
		"the log on etcd knows bytes, numbers and hashes, not meanings"},
	{"eventlog/etcdlog/etcdtest", []string{"eventlog/etcdlog/embedded"}, "it only runs etcd for tests"},
	{"eventlog/etcdlog/embedded", nil, "it only runs etcd"},
	{"eventlog/memlog", []string{"eventlog"}, "the log in memory knows no other"},
	{"eventlog/logtest", []string{"eventlog"}, "the suite tests any log by its contract"},
	{"eventlog/archive", []string{"eventlog"}, "a backup knows its source by the methods that it calls"},
	{"durable", nil, "it puts files on the disk, whatever is in them"},
	{"proof", []string{"ipam"}, "what is signed and verified are values; where keys are is told to it"},
	{"proof/keyring", []string{"proof", "lease"}, "public keys are in etcd, whoever signs or verifies with them"},
	{"pause", nil, "it waits, and asks not what for"},
	{"lease", []string{"pause"}, "leases know nothing of what they are for"},
	{"migrations", []string{"kube/...", "allocator", "projections", "eventlog", "ipam"},
		"what former systems left is turned into commands; how it is read and who carries them out is told to it"},
	{"projections", []string{"eventlog", "ipam"}, "the read model knows no etcd and no Kubernetes"},
	{"allocator", []string{"projections", "eventlog", "ipam"},
		"decisions know the log and the read model, and no transport"},
	{"cloud", []string{"cloud/rpc", "allocator", "projections", "ipam"}, "a cloud provider is told what the log says"},
	{"cloud/rpc", nil, "it is a protocol"},
	{"kube", []string{"allocator", "ipam"}, "Kubernetes objects are turned into our words here"},
	{"extender", []string{"kube", "allocator", "projections", "ipam"},
		"it says what its rooms ask for, and knows none of them"},
	{"extender/api", []string{"ipam"}, "what goes over the wire is shared by servers and clients"},
	{"extender/httpserver", []string{"extender/api"}, "a port knows nothing of what it serves"},
	{"extender/metrics", []string{"allocator", "projections", "ipam"},
		"figures are reported to it, or read from a replica"},
	{"extender/forward", []string{"extender", "extender/httpserver", "allocator", "eventlog"},
		"a request goes to the leader whatever is in it"},
	{"extender/binding", []string{"kube", "allocator", "ipam"}, "the saga of a bind knows no HTTP"},
	{"extender/scheduler", []string{"extender", "extender/binding", "extender/forward", "extender/httpserver",
		"kube/...", "allocator", "projections", "ipam"},
		"the scheduler's verbs are decoded, carried out and responded to"},
	{"extender/rest", []string{"extender", "extender/api", "extender/forward", "extender/httpserver", "kube",
		"kube/stream", "allocator", "projections", "eventlog", "ipam"},
		"requests of people are decoded, carried out and responded to"},
	{"extender/extendertest", []string{"extender", "extender/httpserver", "kube/objects", "allocator", "eventlog/...",
		"ipam"}, "it helps tests of the rooms, and knows none of the ports"},
	{"deploy", nil, "manifests know no code"},
	{"reconciler/mirror", []string{"deploy/crd", "kube/...", "allocator", "projections", "eventlog", "ipam"},
		"rows go out to objects"},
	{"reconciler/proofs", []string{"kube/...", "allocator", "projections", "proof/...", "pause", "ipam"},
		"what the log says is signed for agents"},
	{"reconciler", []string{"kube/...", "allocator", "projections", "lease", "ipam"},
		"it turns what the cluster says into commands"},
	{"kernel", []string{"pause"}, "the kernel's routes and tunnels know nothing of logs"},
	{"wire", []string{"wire/terms", "durable"}, "it is a protocol"},
	{"wire/terms", nil, "galaxy-sdn starts fast with it"},
	{"nodeagent", []string{"allocator", "projections", "eventlog", "lease", "plugins/...", "nodeagent/...",
		"kernel/...", "wire/...", "durable", "pause", "ipam"},
		"an agent turns the log and its leases into routes, and questions of the runtime into commands"},
	{"nodeagent/journal", []string{"eventlog", "durable", "pause"}, "the node's file is a log, and knows no meanings"},
	{"nodeagent/netconf", []string{"plugins"}, "which networks there are is decided, and nothing is run"},
	{"nodeagent/cni", []string{"nodeagent/netconf", "wire", "plugins/...", "durable", "pause", "ipam"},
		"it asks for pods and addresses through interfaces, and knows no log"},
	{"nodeagent/proofs", []string{"proof/...", "durable", "ipam"}, "it holds what pods show to what was signed"},
	{"nodeagent/runtime", nil, "it asks what runs on the node, and decides nothing"},
	{"plugins", []string{"wire/...", "kernel/...", "durable", "ipam"}, "plugins make interfaces, and decide nothing"},
	{"integration", []string{"..."}, "it proves that the rooms fit"},
	{"cmd", []string{"..."}, "commands wire"},
}

// ruleOf is the rule of a room, or of the nearest above it.
func ruleOf(room string) (rule, bool) {
	for at := room; at != ""; {
		if i := slices.IndexFunc(rules, func(r rule) bool { return r.room == at }); i >= 0 {
			return rules[i], true
		}
		cut := strings.LastIndexByte(at, '/')
		at = at[:max(cut, 0)]
	}
	return rule{}, false
}

func (r rule) allows(room, imported string) bool {
	if imported == room || within(imported, r.room) && !ownRule(imported, r.room) {
		return true
	}
	for _, allowed := range r.imports {
		parent, below := strings.CutSuffix(allowed, "/...")
		if allowed == "..." || imported == parent || below && within(imported, parent) {
			return true
		}
	}
	return false
}

// ownRule reports whether a room under another has a rule for itself.
func ownRule(room, above string) bool {
	r, _ := ruleOf(room)
	return r.room != above
}

func within(room, above string) bool { return room == above || strings.HasPrefix(room, above+"/") }

// Who may import whom.
func TestRooms(t *testing.T) {
	for _, s := range sources(t) {
		r, known := ruleOf(s.room)
		if !known {
			t.Errorf("%s: the room %q has no rule; give it one here and a line in docs/ARCHITECTURE.md", s.path, s.room)
			continue
		}
		for _, path := range s.imports() {
			imported, ours := strings.CutPrefix(path, module)
			if !ours || r.allows(s.room, imported) || s.test && testsMay(s.room, imported) {
				continue
			}
			t.Errorf("%s imports %s: %s may import only %s, as %s", s.path, imported, s.room, orNothing(r.imports),
				r.why)
		}
	}
}

// testsMay is what tests may import beyond their room: real logs to run on, what is there for tests, and the room above
// a folder.
func testsMay(room, imported string) bool {
	return within(imported, "eventlog") || forTests(imported) || within(room, imported) || within(imported, room)
}

// The rules themselves refuse what they are there to refuse.
func TestRulesRefuse(t *testing.T) {
	for room, imported := range map[string]string{
		"ipam": "eventlog", "eventlog": "eventlog/etcdlog", "eventlog/etcdlog": "ipam", "projections": "allocator",
		"allocator":    "kube",
		"kube/objects": "extender", "extender": "extender/rest", "extender/rest": "extender/scheduler",
		"extender/scheduler": "extender/metrics",
		"extender/binding":   "extender/httpserver", "extender/api": "extender", "extender/forward": "eventlog/etcdlog",
		"reconciler": "extender", "lease": "eventlog", "eventlog/memlog": "eventlog/etcdlog",
	} {
		if r, known := ruleOf(room); !known || r.allows(room, imported) {
			t.Errorf("%s may import %s", room, imported)
		}
	}
	for room, imported := range map[string]string{
		"kube": "kube/objects", "kube/objects": "kube", "cmd/galaxyctl": "cmd/internal/build",
		"extender/scheduler": "kube/stream", "extender/rest": "extender", "integration/bench": "allocator",
	} {
		if r, known := ruleOf(room); !known || !r.allows(room, imported) {
			t.Errorf("%s may not import %s", room, imported)
		}
	}
	for path, want := range map[string]bool{"os": true, "k8s.io/api/core/v1": true, "go.etcd.io/etcd/client/v3": true,
		"net/netip": false, "time": false} {
		if got := whyForbidden(path) != ""; got != want {
			t.Errorf("pure code: %s is forbidden: %v, want %v", path, got, want)
		}
	}
}

func orNothing(rooms []string) string {
	if len(rooms) == 0 {
		return "nothing of ours"
	}
	return strings.Join(rooms, ", ")
}

// Nothing imports what is only there to prove something, and no program carries the etcd server unless it asks for it.
func TestProofsAreNotImported(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			imported := strings.TrimPrefix(path, module)
			inProof := within(s.room, "integration")
			switch {
			case within(imported, "integration") && !inProof:
				t.Errorf("%s imports %s: integration proves that the rooms fit, and is imported by none", s.path,
					imported)
			case within(imported, "cmd") && !within(s.room, "cmd"):
				t.Errorf("%s imports %s: commands wire the rooms, and are imported by none", s.path, imported)
			case imported == "eventlog/etcdlog/embedded" && !s.test && !within(s.room, "cmd") && !inProof &&
				s.room != "eventlog/etcdlog/etcdtest":
				t.Errorf("%s imports %s: a client of etcd must not carry the server; only commands and tests may",
					s.path, imported)
			case (forTests(imported) || path == "testing") && !s.test && !inProof && !forTests(s.room):
				t.Errorf("%s imports %s, which is for tests only", s.path, path)
			}
		}
	}
}

// The commands of galaxyctl know nothing of each other: what several need is in internal, which knows none of them.
func TestCommandsOfGalaxyctl(t *testing.T) {
	const ctl, shared = "cmd/galaxyctl/", "cmd/galaxyctl/internal"
	checked := map[string]bool{}
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.room, ctl) {
			continue
		}
		checked[s.room] = true
		for _, path := range s.imports() {
			imported := strings.TrimPrefix(path, module)
			if strings.HasPrefix(imported, ctl) && imported != s.room && !within(imported, shared) {
				t.Errorf("%s imports %s: move what both need to %s", s.path, imported, shared)
			}
		}
	}
	if len(checked) < 10 {
		t.Errorf("only %v were checked: the commands have moved", checked)
	}
}

// forTests are the rooms whose code is not of tests but for them.
func forTests(room string) bool {
	return room == "eventlog/etcdlog/etcdtest" || room == "eventlog/logtest" || room == "extender/extendertest"
}

// pureRooms know no clock, no chance and no I/O.
var pureRooms = []string{"ipam", "projections"}

// forbidden is what pure code may not import, and why; a trailing slash means all below.
var forbidden = map[string]string{
	"net/http":           "it does I/O",
	"net":                "it does I/O; net/netip is the one for addresses",
	"os":                 "it does I/O",
	"os/exec":            "it does I/O",
	"syscall":            "it does I/O",
	"math/rand":          "equal logs must give equal states",
	"math/rand/v2":       "equal logs must give equal states",
	"crypto/rand":        "equal logs must give equal states",
	"log":                "pure code is silent; the shell logs",
	"log/slog":           "pure code is silent; the shell logs",
	"go.uber.org/zap":    "pure code is silent; the shell logs",
	"go.etcd.io/":        "pure code knows no etcd",
	"google.golang.org/": "pure code knows no transport",
	"k8s.io/":            "pure code knows no Kubernetes",
	"sigs.k8s.io/":       "pure code knows no Kubernetes",
}

func whyForbidden(path string) string {
	if why := forbidden[path]; why != "" {
		return why
	}
	for prefix, why := range forbidden {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return why
		}
	}
	return ""
}

// isPure reports whether a file holds rules only. In allocator those are the decisions; the loop round them is not
// pure.
func isPure(s source) bool {
	if s.test {
		return false
	}
	if slices.ContainsFunc(pureRooms, func(room string) bool { return within(s.room, room) }) {
		return true
	}
	if s.room != "allocator" {
		return false
	}
	for _, loop := range []string{"leader", "replica", "snapshots"} {
		if strings.TrimSuffix(s.path, ".go") == "allocator/"+loop {
			return false
		}
	}
	return true
}

// Pure code stays pure: it imports no world, and does not read the clock.
func TestPureCode(t *testing.T) {
	checked := map[string]bool{}
	for _, s := range sources(t) {
		if !isPure(s) {
			continue
		}
		checked[s.room] = true
		for _, path := range s.imports() {
			if why := whyForbidden(path); why != "" {
				t.Errorf("%s imports %s: %s", s.path, path, why)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if in, ok := call.X.(*ast.Ident); ok && in.Name == "time" && slices.Contains(clocks, call.Sel.Name) {
				t.Errorf("%s:%d uses time.%s: time comes in as a field of the request, so that the same input gives "+
					"the same response",
					s.path, s.line(n.Pos()), call.Sel.Name)
			}
			return true
		})
	}
	if len(checked) < 3 {
		t.Errorf("only %v were checked: the rooms have moved", checked)
	}
}

var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
