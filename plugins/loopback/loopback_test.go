package loopback_test

import (
	"context"
	"os"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"galaxy/plugins"
	"galaxy/plugins/internal/lab"
	"galaxy/plugins/loopback"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test makes network namespaces and needs root")
	}
	t.Skip("NOT RUN: this test makes network namespaces and needs root")
}

// A pod's lo is up between ADD and DEL, CHECK sees which, and a DEL of a pod that is gone is no error.
func TestLoopback(t *testing.T) {
	needRoot(t)
	n, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close() //nolint:errcheck // the kernel removes it with its last user
	p, ctx := loopback.Plugin(), context.Background()
	args := &skel.CmdArgs{ContainerID: "c", Netns: n.Path, IfName: "lo", StdinData: []byte(`{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}`)}

	result, err := p.Add(ctx, plugins.Host{}, args)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.IPs) == 0 || result.IPs[0].Address.String() != "127.0.0.1/8" || result.Interfaces[0].Name != "lo" {
		t.Errorf("ADD gives %v", result)
	}
	if err := p.Check(ctx, plugins.Host{}, args); err != nil {
		t.Errorf("CHECK after ADD: %v", err)
	}
	if err := p.Del(ctx, plugins.Host{}, args); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if p.Check(ctx, plugins.Host{}, args) == nil {
		t.Error("CHECK finds nothing wrong after DEL")
	}
	gone := *args
	gone.Netns = "/run/netns/never-there"
	if err := p.Del(ctx, plugins.Host{}, &gone); err != nil {
		t.Errorf("DEL of a namespace that is gone: %v", err)
	}
	if _, err := p.Add(ctx, plugins.Host{}, &gone); err == nil {
		t.Error("ADD into a namespace that is gone succeeds")
	}
}
