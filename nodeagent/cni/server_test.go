package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"galaxy/nodeagent/netconf"
	"galaxy/plugins"
	"galaxy/wire"
)

// harness is a server whose plugins only write down that they were called.
type harness struct {
	*Server
	mu     sync.Mutex
	calls  []string
	broken map[string]error // by "ADD x"
	pods   map[string]Pod
	shown  []NetworkStatus
	config *netconf.Config
	ready  error
	lost   []string
}

func (s *harness) note(command, plugin string, args *skel.CmdArgs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := command + " " + plugin
	s.calls = append(s.calls, call+" "+args.IfName)
	return s.broken[call]
}

// taken are the calls since the last one.
func (s *harness) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Join(s.calls, ", ")
	s.calls = nil
	return text
}

func (s *harness) plugin(name string, last byte) plugins.Plugin {
	quiet := func(command string) func(context.Context, plugins.Host, *skel.CmdArgs) error {
		return func(_ context.Context, _ plugins.Host, args *skel.CmdArgs) error { return s.note(command, name, args) }
	}
	return plugins.Plugin{
		Name: name,
		Add: func(_ context.Context, _ plugins.Host, args *skel.CmdArgs) (*types100.Result, error) {
			if err := s.note("ADD", name, args); err != nil {
				return nil, err
			}
			var conf struct{ PrevResult *types100.Result }
			if err := json.Unmarshal(args.StdinData, &conf); err != nil {
				return nil, err
			}
			result := &types100.Result{CNIVersion: "1.1.0"}
			if conf.PrevResult != nil {
				result.IPs = conf.PrevResult.IPs
			}
			result.Interfaces = []*types100.Interface{{Name: args.IfName, Mac: "02:00:00:00:00:01",
				Sandbox: args.Netns}}
			result.IPs = append(result.IPs, &types100.IPConfig{Interface: types100.Int(0),
				Address: net.IPNet{IP: net.IPv4(10, 0, 0, last).To4(), Mask: net.CIDRMask(32, 32)}})
			return result, nil
		},
		Del: quiet("DEL"), Check: quiet("CHECK"), Status: quiet("STATUS"), Repair: quiet("REPAIR"),
	}
}

func (s *harness) Get(_ context.Context, namespace, name, _ string) (Pod, error) {
	p, ok := s.pods[namespace+"/"+name]
	if !ok {
		return Pod{}, fmt.Errorf("there is no pod %s/%s", namespace, name)
	}
	return p, nil
}

func (s *harness) Show(_ context.Context, _, _, _ string, networks []NetworkStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = networks
	return nil
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	config, err := netconf.ParseConfig([]byte(`{"NetworkConf":[{"name":"one","type":"a"},{"name":"chain","plugins":[{"type":"a"},{"type":"b"}]},{"name":"three","type":"c"}],"DefaultNetworks":["one"]}`))
	if err != nil {
		t.Fatal(err)
	}
	s := &harness{config: config, broken: map[string]error{},
		pods: map[string]Pod{"ns/web": {UID: "u1"}, "ns/many": {Pod: netconf.Pod{Networks: "one,chain@net1,three"}}}}
	builtin := map[string]plugins.Plugin{}
	for i, name := range []string{"a", "b", "c"} {
		builtin[name] = s.plugin(name, byte(i+1))
	}
	s.Server = NewServer(Config{
		Builtin: builtin, Host: plugins.Host{Log: zap.NewNop()}, Dir: filepath.Join(t.TempDir(), "state"), Pods: s,
		Log:      zap.NewNop(),
		Networks: func() *netconf.Config { return s.config }, Ready: func() error { return s.ready },
		Lost: func(_ context.Context, containerID, ifName string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lost = append(s.lost, containerID+"/"+ifName)
			return s.broken["lost"]
		},
	})
	return s
}

// ask sends a request as galaxy-sdn does.
func (s *harness) ask(command, container, pod, version string) (string, error) {
	return s.askFor(command, container, "eth0", "galaxy-sdn", pod, version)
}

// askFor is ask for an interface of a network of the runtime's.
func (s *harness) askFor(command, container, ifName, network, pod, version string) (string, error) {
	env := []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + container, "CNI_NETNS=/var/run/netns/x",
		"CNI_IFNAME=" + ifName, "CNI_PATH=/nowhere",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=" + pod}
	text, err := s.Handle(context.Background(),
		wire.Request{Env: wire.Environ(env), Config: fmt.Appendf(nil, `{"cniVersion":%q,"name":%q,"type":"galaxy-sdn"}`,
			version, network)})
	return string(text), err
}

func TestAddAndDel(t *testing.T) {
	s := newHarness(t)
	for version, want := range map[string]string{
		"0.1.0": `"ip4":{"ip":"10.0.0.1/32"}`, "0.2.0": `"ip4":{"ip":"10.0.0.1/32"}`,
		"0.3.1": `"version":"4","interface":0,"address":"10.0.0.1/32"`,
		"0.4.0": `"version":"4"`, "1.0.0": `"ips":[{"address":"10.0.0.1/32","interface":0}]`,
		"1.1.0": `"ips":[{"address":"10.0.0.1/32","interface":0}]`,
	} {
		response, err := s.ask("ADD", "c1", "web", version)
		if err != nil || !strings.Contains(response, want) ||
			!strings.Contains(response, `"cniVersion":"`+version+`"`) {
			t.Errorf("version %s: %s, %v", version, response, err)
		}
		if _, err := s.ask("CHECK", "c1", "web", version); err != nil {
			t.Error(err)
		}
		for range 2 {
			if response, err := s.ask("DEL", "c1", "web", version); err != nil || response != "" {
				t.Errorf("DEL: %q, %v", response, err)
			}
		}
		if calls := s.taken(); calls != "ADD a eth0, CHECK a eth0, DEL a eth0" {
			t.Errorf("version %s: %s", version, calls)
		}
	}
	var known *types.Error
	if _, err := s.ask("ADD", "c1", "web", "9.9.9"); !errors.As(err, &known) ||
		known.Code != types.ErrIncompatibleCNIVersion {
		t.Errorf("version 9.9.9: %v", err)
	}
	if _, err := s.ask("CHECK", "c1", "web", "1.0.0"); !errors.As(err, &known) ||
		known.Code != types.ErrUnknownContainer {
		t.Errorf("CHECK of what is not there: %v", err)
	}
}

// The first network is the pod's own, and the others are shown on it. What fails half-way leaves nothing; what cannot
// be undone is tried again by the next DEL.
func TestSeveralNetworks(t *testing.T) {
	s := newHarness(t)
	response, err := s.ask("ADD", "c1", "many", "1.0.0")
	if err != nil || !strings.Contains(response, `"name":"eth0"`) || strings.Contains(response, "10.0.0.3") {
		t.Errorf("%s, %v", response, err)
	}
	if text, _ := json.Marshal(s.shown); string(text) != `[{"name":"one","interface":"eth0","ips":["10.0.0.1"],"mac":"02:00:00:00:00:01","default":true,"dns":{}},`+
		`{"name":"chain","interface":"net1","ips":["10.0.0.1","10.0.0.2"],"mac":"02:00:00:00:00:01","dns":{}},`+
		`{"name":"three","interface":"eth2","ips":["10.0.0.3"],"mac":"02:00:00:00:00:01","dns":{}}]` {
		t.Errorf("shown is %s", text)
	}
	if _, err := s.ask("ADD", "c1", "many", "1.0.0"); err == nil {
		t.Error("a second ADD of a container is accepted")
	}
	s.broken["DEL b"] = errors.New("stuck")
	s.taken()
	if _, err := s.ask("DEL", "c1", "many", "1.0.0"); err == nil ||
		!strings.Contains(err.Error(), "network chain, plugin b: stuck") {
		t.Errorf("DEL: %v", err)
	}
	if calls := s.taken(); calls != "DEL c eth2, DEL b net1, DEL a net1, DEL a eth0" {
		t.Error(calls)
	}
	delete(s.broken, "DEL b")
	if _, err := s.ask("DEL", "c1", "many", "1.0.0"); err != nil || s.taken() != "DEL b net1, DEL a net1" {
		t.Errorf("the second DEL: %v", err)
	}
	s.broken["ADD c"] = plugins.Errorf(plugins.ErrKernel, "no room")
	var known *types.Error
	if _, err := s.ask("ADD", "c2", "many", "1.0.0"); !errors.As(err, &known) || known.Code != plugins.ErrKernel ||
		known.Msg != "network three, plugin c: no room" {
		t.Errorf("ADD: %v", err)
	}
	if calls := s.taken(); calls != "ADD a eth0, ADD a net1, ADD b net1, ADD c eth2, DEL c eth2, DEL b net1, DEL a "+
		"net1, DEL a eth0" {
		t.Error(calls)
	}
	if left, _ := os.ReadDir(s.Dir); len(left) != 0 {
		t.Errorf("left is %v", left)
	}
}

// An ADD that was cut off, by the end of the agent for example, is undone by the next one.
func TestAddAfterCut(t *testing.T) {
	s := newHarness(t)
	if err := s.state.save("c1", []Attachment{{Of: Call{Network: "galaxy-sdn", IfName: "eth0"},
		Network: *s.config.Network("three"), IfName: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask("ADD", "c1", "web", "1.0.0"); err != nil || s.taken() != "DEL c eth0, ADD a eth0" {
		t.Error(err)
	}
}

func TestCollectAndStatus(t *testing.T) {
	s := newHarness(t)
	for _, id := range []string{"c1", "c2", "c3"} {
		if _, err := s.ask("ADD", id, "web", "1.1.0"); err != nil {
			t.Fatal(err)
		}
	}
	s.taken()
	gc := func(conf string) error {
		_, err := s.Handle(t.Context(), wire.Request{Env: map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/x"},
			Config: []byte(conf)})
		return err
	}
	if err := gc(`{"cniVersion":"1.1.0","name":"galaxy-sdn","cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"}]}`); err != nil || s.taken() != "DEL a eth0, DEL a eth0" {
		t.Error(err)
	}
	for what, conf := range map[string]string{
		"without a list": `{"cniVersion":"1.1.0","name":"galaxy-sdn"}`,
		"no list":        `{"cniVersion":"1.1.0","name":"galaxy-sdn","cni.dev/valid-attachments":{}}`,
		"without a name": `{"cniVersion":"1.1.0","cni.dev/valid-attachments":[]}`,
	} {
		if err := gc(conf); err == nil || s.taken() != "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.sweep(t.Context(), "galaxy-sdn", nil, time.Now().Add(-time.Minute), ""); err != nil || s.taken() != "" {
		t.Errorf("what is younger than the list is undone: %v", err)
	}
	if err := gc(`{"cniVersion":"1.1.0","name":"galaxy-sdn","cni.dev/valid-attachments":null}`); err != nil ||
		s.taken() != "DEL a eth0" {
		t.Errorf("a library that knows of none: %v", err)
	}
	if _, err := s.ask("STATUS", "c", "web", "1.1.0"); err != nil {
		t.Error(err)
	}
	s.ready = errors.New("no subnet yet")
	var known *types.Error
	if _, err := s.ask("STATUS", "c", "web", "1.1.0"); !errors.As(err, &known) ||
		known.Code != types.ErrPluginNotAvailable {
		t.Errorf("STATUS: %v", err)
	}
	if _, err := s.ask("ADD", "c9", "web", "1.1.0"); !errors.As(err, &known) || known.Code != types.ErrTryAgainLater {
		t.Errorf("ADD: %v", err)
	}
	if _, err := s.ask("DEL", "c2", "web", "1.1.0"); err != nil {
		t.Errorf("DEL of a node that takes no ADD: %v", err)
	}
}

func TestConcurrentContainers(t *testing.T) {
	s := newHarness(t)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			id := fmt.Sprintf("c%d", i%10) // five at once for each
			if _, err := s.ask("DEL", id, "many", "1.0.0"); err != nil {
				t.Error(err)
			}
			_, _ = s.ask("ADD", id, "many", "1.0.0") // one of them comes first
			if _, err := s.ask("DEL", id, "many", "1.0.0"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left, _ := os.ReadDir(s.Dir); len(left) != 0 {
		t.Errorf("left is %v", left)
	}
}

// A request waits for another one of its container until its own time ends, and no longer: the runtime may have given
// it up, and a chain of plugins may have asked in a circle.
func TestLockEndsWithItsRequest(t *testing.T) {
	var locks keyLocks
	unlock, err := locks.lock(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := locks.lock(ended, "c"); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "container c") {
		t.Errorf("%v", err)
	}
	if !locks.busy("c") {
		t.Error("who gave up took the lock from who has it")
	}
	unlock()
	if locks.busy("c") || len(locks.held) != 0 {
		t.Errorf("held is %v", locks.held)
	}
	unlock, err = locks.lock(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Files of the reference's agent are understood well enough to undo what it made.
func TestForeignState(t *testing.T) {
	s := newHarness(t)
	text := `[{"NetworkType":"a","Args":{"ipinfos":"[]"},"Conf":{"name":"one","type":"a","x":1},"IfName":"eth0"}]`
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "old"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask("DEL", "old", "web", "0.2.0"); err != nil || s.taken() != "DEL a eth0" {
		t.Error(err)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`[{"NetworkType":"a","Args":null,"Conf":{"name":"one","type":"a"},"IfName":"eth0"}]`))
	text, err := encodeState([]Attachment{{Network: *netconf.DefaultConfig().Networks[0], IfName: "eth0", Args: "MAC=x",
		Result: &types100.Result{CNIVersion: "1.1.0"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, result := range []string{`{"ips":[null]}`, `{"cniVersion":"0.4.0","interfaces":[{}]}`,
		`{"routes":[{"dst":"<nil>"}]}`, `null`} {
		f.Add(fmt.Appendf(nil, withResult, result))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := decodeState(text)
		_ = exemptOf(all)
		if err != nil && len(all) == 0 {
			return
		}
		again, err := encodeState(all)
		if err != nil {
			t.Fatalf("%+v: %v", all, err)
		}
		if twice, err := decodeState(again); err != nil || len(twice) != len(all) {
			t.Errorf("%s cannot be read: %v", again, err)
		}
		for _, a := range all {
			if a.Result == nil {
				continue
			}
			if _, err := encode(a.Result, "1.0.0"); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a pod or its network says about masquerading is in force before ADD answers and gone before DEL does, and the
// next life of the agent knows it again.
func TestExempt(t *testing.T) {
	s := newHarness(t)
	s.pods["ns/open"] = Pod{Pod: netconf.Pod{Networks: "one,three", Masquerade: "false"}}
	var changes []string
	s.ExemptChanged = func(context.Context) error {
		changes = append(changes, fmt.Sprint(s.Exempt()))
		return s.broken["exempt"]
	}
	for id, pod := range map[string]string{"c1": "web", "c2": "open"} {
		if _, err := s.ask("ADD", id, pod, "1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
	if again := NewServer(s.Config).Exempt(); len(changes) != 1 || changes[0] != "[10.0.0.1 10.0.0.3]" ||
		fmt.Sprint(again) != changes[0] {
		t.Errorf("changes %v, and known again %v", changes, again)
	}
	for range 2 {
		if _, err := s.ask("DEL", "c2", "open", "1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
	if len(changes) != 2 || changes[1] != "[]" {
		t.Errorf("changes %v", changes)
	}
	s.taken()
	s.broken["exempt"] = errors.New("no nft")
	if _, err := s.ask("ADD", "c2", "open", "1.0.0"); !errors.Is(err, s.broken["exempt"]) ||
		s.taken() != "ADD a eth0, ADD c eth1, DEL c eth1, DEL a eth0" {
		t.Errorf("an ADD whose promise cannot be kept: %v", err)
	}
}
