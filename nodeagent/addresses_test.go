package nodeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"go.uber.org/zap"

	"galaxy/eventlog/memlog"
	"galaxy/plugins"
)

func container(id string) *skel.CmdArgs {
	return &skel.CmdArgs{ContainerID: id, IfName: "eth0", Args: "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p-" + id +
		";K8S_POD_UID=u-" + id}
}

// The addresses of a node go to containers and come back; one that asks again has the same.
func TestAddresses(t *testing.T) {
	a := &Addresses{Node: "a", Log: zap.NewNop()}
	tryAgain := func(what string, err error) {
		t.Helper()
		var e *types.Error
		if !errors.As(err, &e) || e.Code != types.ErrTryAgainLater {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := a.Add(t.Context(), container("c1"))
	tryAgain("an ADD before the addresses are known", err)
	tryAgain("a DEL", a.Del(t.Context(), container("c1")))
	tryAgain("a CHECK", a.Check(t.Context(), container("c1")))

	a.set(leading(t, memlog.New(), "node-a"))
	_, err = a.Add(t.Context(), container("c1"))
	tryAgain("an ADD without a subnet", err)
	if err := a.Use(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.244.0.0/29")}); err != nil {
		t.Fatal(err)
	}
	var given []string
	for i := 1; i <= 5; i++ { // eight, without the network's own, the node's and the broadcast address
		result, err := a.Add(t.Context(), container(fmt.Sprint("c", i)))
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, result.IPs[0].Address.String())
		if gateway := result.IPs[0].Gateway.String(); gateway != "10.244.0.1" {
			t.Errorf("the gateway is %s", gateway)
		}
	}
	if slices.Sort(given); len(slices.Compact(given)) != 5 {
		t.Errorf("given: %q", given)
	}
	_, err = a.Add(t.Context(), container("c6"))
	tryAgain("an ADD when all are given", err)
	again, err := a.Add(t.Context(), container("c2"))
	if err != nil || !slices.Contains(given, again.IPs[0].Address.String()) || len(a.Held()) != 5 {
		t.Errorf("an ADD again: %v, %v; held by %q", again, err, a.Held())
	}
	if err := a.Check(t.Context(), container("c2")); err != nil {
		t.Error(err)
	}
	for range 2 { // the second has nothing to do
		if err := a.Del(t.Context(), container("c2")); err != nil {
			t.Fatal(err)
		}
	}
	var e *types.Error
	if err := a.Check(t.Context(), container("c2")); !errors.As(err, &e) || e.Code != plugins.ErrChanged {
		t.Errorf("a CHECK after the DEL: %v", err)
	}
	if err := a.Release(plugins.WithEvidence(t.Context(), "its namespace is gone"), "c3"); err != nil ||
		slices.Contains(a.Held(), "c3") || len(a.Held()) != 3 {
		t.Errorf("%v; held by %q", err, a.Held())
	}
	refused := errors.New("no more")
	a.Leave = func() error { return refused }
	_, err = a.Add(t.Context(), container("c7"))
	tryAgain("an ADD that the node must not serve", err)
	if err := a.Del(t.Context(), container("c1")); err != nil {
		t.Errorf("a DEL is always served: %v", err)
	}
}

// A runtime without Kubernetes names no pod; the container stands for it.
func TestPodOf(t *testing.T) {
	if pod := podOf(container("c1")); pod.Namespace != "ns" || pod.Name != "p-c1" || pod.UID != "u-c1" {
		t.Errorf("%+v", pod)
	}
	if pod := podOf(&skel.CmdArgs{ContainerID: "c9"}); pod.Name != "c9" || pod.Namespace != "" {
		t.Errorf("%+v", pod)
	}
}
