package kernel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestStories plays the stories in testdata. `go test ./kernel -run Stories -rewrite` renews them: read the diff.
//
//	want [backend= mtu= source= address= ipip=]   what node a wants; the input is
//	    self NAME ADDRESSES SUBNETS
//	    link NAME MTU ADDRESS/BITS
//	    peer NAME ADDRESSES SUBNETS               "-" for none
//	have                                          the input is what the kernel has, in the words of a State
//	diff                                          what leads from have to want; have becomes what it leads to
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var want, have State
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "want":
				self, peers, c := parseWish(t, d)
				var problems []Problem
				want, problems = Want(self, peers, c)
				var b strings.Builder
				b.WriteString(want.String())
				for _, p := range problems {
					fmt.Fprintln(&b, "problem:", p)
				}
				return b.String()
			case "have":
				have = parseState(t, d.Input)
				return have.String()
			case "diff":
				changes := Diff(want, have)
				have = played(t, have, changes)
				if !have.Equal(want) {
					t.Fatalf("%s: the changes lead to\n%s, not to\n%s", d.Pos, have, want)
				}
				return changes.String()
			}
			t.Fatalf("%s: no command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func parseWish(t *testing.T, d *datadriven.TestData) (self Node, peers []Node, c Config) {
	for _, arg := range d.CmdArgs {
		v := arg.Vals[0]
		switch arg.Key {
		case "backend":
			c.Backend = Backend(v)
		case "mtu":
			c.MTU, _ = strconv.Atoi(v)
		case "source":
			c.TunnelSources = list(v, netip.MustParseAddr)
		case "address":
			c.TunnelAddresses = list(v, netip.MustParseAddr)
		case "ipip":
			c.IPIPName = v
		default:
			t.Fatalf("%s: no option %s", d.Pos, arg.Key)
		}
	}
	var networks []LocalNetwork
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		switch f[0] {
		case "link":
			mtu, _ := strconv.Atoi(f[2])
			p := netip.MustParsePrefix(f[3])
			networks = append(networks, LocalNetwork{Link: f[1], MTU: mtu, Address: p.Addr(), Prefix: p.Masked()})
		case "self", "peer":
			n := Node{Name: f[1], Addresses: list(f[2], netip.MustParseAddr),
				Subnets: list(f[3], netip.MustParsePrefix)}
			if f[0] == "self" {
				self = n
			} else {
				peers = append(peers, n)
			}
		default:
			t.Fatalf("%s: no line %s", d.Pos, line)
		}
	}
	self.Networks = networks
	return self, peers, c
}

func list[T any](s string, parse func(string) T) []T {
	var all []T
	for one := range strings.SplitSeq(s, ",") {
		if one != "-" {
			all = append(all, parse(one))
		}
	}
	return all
}

// parseState reads what State.String writes.
func parseState(t *testing.T, text string) State {
	s := State{Routes: map[netip.Prefix]Route{}, Tunnels: map[string]Tunnel{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if f[0] == "tunnel" {
			tun := Tunnel{Name: f[1], Mode: Mode(f[2])}
			words(t, f[3:], map[string]func(string){
				"local": func(v string) { tun.Local = netip.MustParseAddr(v) },
				"mtu":   func(v string) { tun.MTU, _ = strconv.Atoi(v) },
				"addr":  func(v string) { tun.Addr = netip.MustParsePrefix(v) },
				"down":  nil,
			}, func(string) { tun.Down = true })
			s.Tunnels[tun.Name] = tun
			continue
		}
		r := Route{Dst: netip.MustParsePrefix(f[1])}
		words(t, f[2:], map[string]func(string){
			"via":    func(v string) { r.Via = netip.MustParseAddr(v) },
			"dev":    func(v string) { r.Link = v },
			"src":    func(v string) { r.Source = netip.MustParseAddr(v) },
			"mtu":    func(v string) { r.MTU, _ = strconv.Atoi(v) },
			"metric": func(v string) { r.Metric, _ = strconv.Atoi(v) },
			"onlink": nil,
		}, func(string) { r.OnLink = true })
		if f[0] == "stray" {
			s.Strays = append(s.Strays, r)
		} else {
			s.Routes[r.Dst] = r
		}
	}
	return s
}

// words reads pairs of a word and a value; a word without a reader is a flag.
func words(t *testing.T, f []string, read map[string]func(string), flag func(string)) {
	for i := 0; i < len(f); i++ {
		value, known := read[f[i]]
		switch {
		case !known:
			t.Fatalf("no word %q", f[i])
		case value == nil:
			flag(f[i])
		default:
			i++
			value(f[i])
		}
	}
}

// played is the state that a kernel has after the changes. It refuses what a kernel refuses.
func played(t interface{ Fatalf(string, ...any) }, have State, changes Changes) State {
	s := State{Routes: maps.Clone(have.Routes), Tunnels: maps.Clone(have.Tunnels), Strays: slices.Clone(have.Strays)}
	if s.Routes == nil {
		s.Routes = map[netip.Prefix]Route{}
	}
	if s.Tunnels == nil {
		s.Tunnels = map[string]Tunnel{}
	}
	for _, c := range changes {
		_, tunnel := s.Tunnels[c.Tunnel.Name]
		_, route := s.Routes[c.Route.Dst]
		_, link := s.Tunnels[c.Route.Link]
		link = link || !strings.HasPrefix(c.Route.Link, TunnelPrefix)
		stray := slices.Index(s.Strays, c.Route)
		ok := true
		switch c.Op {
		case AddTunnel:
			ok = !tunnel
			s.Tunnels[c.Tunnel.Name] = c.Tunnel
		case SetTunnel:
			ok = tunnel && s.Tunnels[c.Tunnel.Name].Mode == c.Tunnel.Mode
			s.Tunnels[c.Tunnel.Name] = c.Tunnel
		case DeleteTunnel:
			for _, r := range s.Routes {
				ok = ok && r.Link != c.Tunnel.Name
			}
			ok = ok && tunnel
			delete(s.Tunnels, c.Tunnel.Name)
		case AddRoute:
			ok = !route && link
			s.Routes[c.Route.Dst] = c.Route
		case ReplaceRoute:
			ok = route && link
			s.Routes[c.Route.Dst] = c.Route
		case DeleteRoute:
			if stray >= 0 {
				s.Strays = slices.Delete(s.Strays, stray, stray+1)
				break
			}
			ok = s.Routes[c.Route.Dst] == c.Route
			delete(s.Routes, c.Route.Dst)
		}
		if !ok {
			t.Fatalf("the kernel refuses %q of\n%sin\n%s", c, changes, s)
		}
	}
	return s
}

func drawState(strays bool) *rapid.Generator[State] {
	return rapid.Custom(func(t *rapid.T) State {
		s := State{Routes: map[netip.Prefix]Route{}, Tunnels: map[string]Tunnel{}}
		addr := rapid.Map(rapid.IntRange(1, 3), func(i int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0,
				byte(i)})
		})
		links := []string{"eth0", "eth1"}
		for _, name := range []string{DefaultIPIP, DefaultIP6Tnl} {
			if rapid.Bool().Draw(t, name) {
				modes := []Mode{IPIP, IP6Tnl}
				if strays {
					modes = append(modes, "ipip changed by hand")
				}
				s.Tunnels[name] = Tunnel{
					Name: name, Mode: rapid.SampledFrom(modes).Draw(t, "mode"), Local: addr.Draw(t, "local"),
					MTU:  rapid.IntRange(1480, 1481).Draw(t, "mtu"),
					Addr: rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("10.244.0.0/32")}).Draw(t, "addr"),
					Down: strays && rapid.Bool().Draw(t, "down"),
				}
				links = append(links, name)
			}
		}
		route := func(i int) Route {
			return Route{
				Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24), Via: addr.Draw(t, "via"),
				Link: rapid.SampledFrom(links).Draw(t, "link"), OnLink: rapid.Bool().Draw(t, "onlink"),
			}
		}
		for i := range 6 {
			if rapid.Bool().Draw(t, "route") {
				r := route(i)
				s.Routes[r.Dst] = r
			}
			if strays && rapid.Bool().Draw(t, "stray") {
				r := route(i)
				r.Metric = 7
				s.Strays = append(s.Strays, r)
			}
		}
		return s
	})
}

// Whatever there is, the changes lead to what is wanted, a kernel takes them in their order, and then nothing is left
// to do.
func TestDiffLeadsToWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, have := drawState(false).Draw(t, "want"), drawState(true).Draw(t, "have")
		changes := Diff(want, have)
		got := played(t, have, changes)
		if !got.Equal(want) {
			t.Fatalf("changes\n%slead to\n%snot to\n%s", changes, got, want)
		}
		if left := Diff(want, got); len(left) != 0 {
			t.Fatalf("left to do:\n%s", left)
		}
		if left := Diff(have, have); len(left) != len(have.Strays) {
			t.Fatalf("from a state to itself:\n%s", left)
		}
		touched := map[string]int{}
		for _, c := range changes {
			touched[fmt.Sprint(c.ofTunnel(), c.Tunnel.Name, c.Route.Dst, c.Route.Metric)]++
		}
		for what, times := range touched {
			if times > 2 {
				t.Fatalf("%s is touched %d times:\n%s", what, times, changes)
			}
		}
	})
}

// A subnet that is reached before and after the changes is reached all the time, unless its tunnel has to be made anew.
func TestDiffLosesNoPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, have := drawState(false).Draw(t, "want"), drawState(false).Draw(t, "have")
		changes := Diff(want, have)
		for i := range changes {
			now := played(t, have, changes[:i+1])
			for dst, r := range have.Routes {
				_, stays := want.Routes[dst]
				_, there := now.Routes[dst]
				mode := have.Tunnels[r.Link].Mode
				remade := mode != "" && want.Tunnels[r.Link].Mode != "" && want.Tunnels[r.Link].Mode != mode
				if stays && !there && !remade {
					t.Fatalf("%s is lost after %q of\n%s", dst, changes[i], changes)
				}
			}
		}
	})
}

// The order in which peers are given changes nothing.
func TestWantIsTheSameInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		self := Node{Name: "self", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Networks: []LocalNetwork{
			{Link: "eth0", MTU: 1500, Address: netip.MustParseAddr("10.0.0.1"),
				Prefix: netip.MustParsePrefix("10.0.0.0/24")}}}
		peers := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Node {
			return Node{
				Name: rapid.StringMatching("[a-d]").Draw(t, "name"),
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 1).Draw(t, "net")),
					byte(rapid.IntRange(1, 4).Draw(t, "host"))})},
				Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244,
					byte(rapid.IntRange(1, 3).Draw(t, "subnet")), 0}), 24)},
			}
		}), 0, 4, func(n Node) string { return n.Name }).Draw(t, "peers")
		one, problems := Want(self, peers, Config{})
		other, same := Want(self, rapid.Permutation(peers).Draw(t, "permuted"), Config{})
		if !one.Equal(other) || !slices.Equal(problems, same) {
			t.Fatalf("%v and\n%v\n%v and %v", one, other, problems, same)
		}
		if len(one.Routes)+len(problems) != len(peers) {
			t.Fatalf("%d peers, %d routes and %d problems", len(peers), len(one.Routes), len(problems))
		}
	})
}
