package scenarios

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"galaxy/cloud/rpc"
	"galaxy/integration/cluster/controlplane"
)

// provider is a cloud provider: each address is on one node at a time.
type provider struct {
	rpc.UnimplementedIPProviderServiceServer
	mu   sync.Mutex
	at   map[string]string
	errs []string
	down bool
}

func (p *provider) AssignIP(_ context.Context, r *rpc.AssignIPRequest) (*rpc.AssignIPReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return &rpc.AssignIPReply{Msg: "out of order"}, nil
	}
	if on := p.at[r.IPAddress]; on != "" && on != r.NodeName {
		p.errs = append(p.errs, fmt.Sprintf("%s is on %s, and was assigned to %s", r.IPAddress, on, r.NodeName))
	}
	p.at[r.IPAddress] = r.NodeName
	return &rpc.AssignIPReply{Success: true}, nil
}

func (p *provider) UnAssignIP(_ context.Context, r *rpc.UnAssignIPRequest) (*rpc.UnAssignIPReply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return &rpc.UnAssignIPReply{Msg: "out of order"}, nil
	}
	if r.NodeName == "" || p.at[r.IPAddress] == r.NodeName {
		delete(p.at, r.IPAddress)
	}
	return &rpc.UnAssignIPReply{Success: true}, nil
}

func (p *provider) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// inStep compares what the provider has with what the log says is in use.
func (p *provider) inStep(w *harness) error {
	used := w.held(func(r row) bool { return r.State == "bound" })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) > 0 {
		return fmt.Errorf("%v", p.errs)
	}
	if len(used) != len(p.at) {
		return fmt.Errorf("%d addresses are in use, the provider has %d", len(used), len(p.at))
	}
	for _, r := range used {
		if p.at[r.IP] != r.Node {
			return fmt.Errorf("%s is used on %s, the provider has it on %q", r.IP, r.Node, p.at[r.IP])
		}
	}
	return nil
}

// A cloud provider is notified of every address that is put to use or given up, is out of order for a while, and
// galaxy-ipam is killed in between: in the end it has just what is in use.
func TestCloudProvider(t *testing.T) {
	p := &provider{at: map[string]string{}}
	line, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	rpc.RegisterIPProviderServiceServer(server, p)
	go func() { _ = server.Serve(line) }()
	t.Cleanup(server.Stop)
	config := filepath.Join(t.TempDir(), "galaxy-ipam.json")
	text := fmt.Sprintf(`{"schedule_plugin":{"cloudProviderGrpcAddr":%q}}`, line.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newHarness(t, settings{args: []string{"--config", config},
		options: controlplane.Options{Extender: &controlplane.Extender{}}, nodes: [3]int{5, 5, 0}})
	web := controlplane.NewDeployment("default", "web", 10, controlplane.WithAddress())
	db := controlplane.NewStatefulSet("default", "db", 4, controlplane.WithAddress(), immutable())
	w.Create(web, db)
	w.running("default", "web", 10)
	w.running("default", "db", 4)
	inStep := func() {
		t.Helper()
		w.WaitFor("the provider is in step", time.Minute, func(context.Context) error { return p.inStep(w) })
	}
	inStep()
	p.set(true)
	w.Scale(web, 3)
	w.Scale(db, 0)
	w.running("default", "web", 3)
	time.Sleep(2 * time.Second)
	w.ipams[0].Kill()
	w.ipams[0].Start()
	w.Scale(db, 6)
	time.Sleep(2 * time.Second)
	p.set(false)
	w.running("default", "db", 6)
	inStep()
	w.agree()
}
