package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// etcd is a client of the lab's etcd, with or without a user.
func (l *harness) etcd(user, password string) *clientv3.Client {
	l.t.Helper()
	dial := func(_ context.Context, at string) (conn net.Conn, err error) {
		l.wires.in(func() error {
			conn, err = net.DialTimeout("tcp", strings.TrimPrefix(at, "http://"), 2*time.Second)
			return nil
		})
		return conn, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcdURL}, Username: user, Password: password, Logger: zap.NewNop(),
		DialTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = client.Close() }) // nothing is left to say
	return client
}

// Everything works with no more rights in etcd than galaxyctl etcd-auth gives; and with the credentials of one part
// nobody writes what another part says.
func TestLeastPrivilege(t *testing.T) {
	l := newHarness(t, 0)
	secrets := filepath.Join(l.dir, "secrets")
	file := func(user string) string { return filepath.Join(secrets, user) }
	credentials := func(user string) []string {
		return []string{"--etcd-user", user, "--etcd-password-file",
			file(user)}
	}
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("root"), []byte("of all evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := l.etcd("", "")
	eventually(t, "there is an etcd", 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := open.UserAdd(ctx, "root", "of all evil")
		if errors.Is(err, rpctypes.ErrUserAlreadyExist) {
			return nil
		}
		return err
	})
	if _, err := open.RoleAdd(t.Context(), "root"); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		t.Fatal(err)
	}
	if _, err := open.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatal(err)
	}
	apply := append([]string{"etcd-auth", "apply", "--nodes", "n0,n1", "--passwords", secrets, "--enable"},
		credentials("root")...)
	for range 2 { // it may be repeated
		if out, err := l.galaxyctl(apply...); err != nil {
			t.Fatalf("etcd-auth apply: %v\n%s", err, out)
		}
	}
	l.ipam.stop()
	l.ipam.args = append(l.ipam.args, credentials("galaxy-leader")...)
	l.ipam.start()
	a, b := l.addNode("n0", 0, credentials("galaxy-node-n0")...), l.addNode("n1", 1, credentials("galaxy-node-n1")...)
	l.converged(1, a, b)
	pa, pb := a.addPod("pa"), b.addPod("pb")
	pb.echo()
	pa.reach(pb.addresses[0])
	pa.remove()
	restartedWithoutEtcd(a)
	wrongPassword(l, append(credentials("galaxy-node-n0")[:3:3], file("root")))
	l.converged(1, a, b)

	client := func(user string) *clientv3.Client {
		text, err := os.ReadFile(file(user))
		if err != nil {
			t.Fatal(err)
		}
		return l.etcd(user, strings.TrimSpace(string(text)))
	}
	for user, keys := range map[string][]string{
		"galaxy-node-n0": {"lease/node/n1", "lease/leader", "head/node-n1", "log/node-n1/00000000000000000001",
			"log/nodes/00000000000000000001", "head/nodes", "log/ipam/00000000000000000001", "generation"},
		"galaxy-leader": {"log/node-n0/00000000000000000001", "head/node-n0", "lease/node/n0"},
		"galaxy-auditor": {"log/ipam/00000000000000000001", "head/nodes", "log/node-n0/00000000000000000001",
			"lease/node/n0"},
	} {
		c := client(user)
		for _, key := range keys {
			if _, err := c.Put(t.Context(), "/galaxy/v1/"+key, "forged"); !errors.Is(err,
				rpctypes.ErrPermissionDenied) {
				t.Errorf("%s writes %s: %v, want it denied", user, key, err)
			}
			if _, err := c.Delete(t.Context(), "/galaxy/v1/"+key); !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Errorf("%s deletes %s: %v, want it denied", user, key, err)
			}
		}
	}
	if _, err := client("galaxy-node-n0").Get(t.Context(), "/galaxy/v1/log/node-n1/",
		clientv3.WithPrefix()); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("a node reads what another gives to its pods: %v", err)
	}
	if out, err := l.galaxyctl(append([]string{"log", "verify"}, credentials("galaxy-auditor")...)...); err != nil {
		t.Errorf("the auditor cannot verify the log: %v\n%s", err, out)
	}
	out, err := l.galaxyctl(append([]string{"node", "list"}, credentials("galaxy-auditor")...)...)
	if err != nil || strings.Count(out, "alive") != 2 {
		t.Errorf("node list: %v\n%s", err, out)
	}
	t.Logf("\n%s", out)
	flooded(l, client("galaxy-node-n0"), client("galaxy-node-n1"), credentials("root"))
}

// flooded has a node fill etcd with the keys that are its own. galaxy-ipam says which node it is, and its user can be
// taken away at once; the others go on.
func flooded(l *harness, bad, good *clientv3.Client, root []string) {
	l.t.Helper()
	const key = "/galaxy/v1/snapshot/node-n0/flood"
	text := strings.Repeat("x", 1<<20)
	for range 40 {
		if _, err := bad.Put(l.t.Context(), key, text); err != nil {
			l.t.Fatal(err)
		}
	}
	eventually(l.t, "galaxy-ipam says who floods etcd", 20*time.Second, func() error {
		out, err := l.galaxyctl("status", "--server", "http://"+net.JoinHostPort(control, "9041"))
		if !strings.Contains(out, "node n0 writes more to etcd") || err == nil {
			return fmt.Errorf("status: %w\n%s", err, out)
		}
		return nil
	})
	if out, err := l.galaxyctl(append([]string{"etcd-auth", "revoke", "--nodes", "n0"}, root...)...); err != nil {
		l.t.Fatalf("revoke: %v\n%s", err, out)
	}
	eventually(l.t, "the node writes nothing more", 10*time.Second, func() error {
		if _, err := bad.Put(l.t.Context(), key, text); err == nil {
			return errors.New("it does")
		}
		return nil
	})
	if _, err := good.Put(l.t.Context(), "/galaxy/v1/snapshot/node-n1/x", "x"); err != nil {
		l.t.Errorf("another node: %v", err)
	}
}

// restartedWithoutEtcd restarts an agent while the etcd is away whose password it has: it takes pods all the same, and
// writes them to etcd later.
func restartedWithoutEtcd(n *node) {
	n.harness.ipam.kill()
	n.agent.kill()
	n.agent.start()
	eventually(n.t, "the agent takes pods without etcd", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && s.Ready != "" {
			err = errors.New(s.Ready)
		}
		return err
	})
	n.addPod("offline").remove()
	n.harness.ipam.start()
	eventually(n.t, "etcd has what it missed", 30*time.Second, func() error {
		s, err := n.status()
		if err == nil && s.Waiting > 0 {
			err = fmt.Errorf("%d events wait", s.Waiting)
		}
		return err
	})
}

// wrongPassword starts an agent that etcd does not let in: it says so, and what to look at.
func wrongPassword(l *harness, credentials []string) {
	n := l.bareNode(near, "n2", 2, credentials...)
	n.agent.start()
	eventually(l.t, "the agent says that its password is wrong", 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && (!strings.Contains(s.Ready, "authentication failed") ||
			!strings.Contains(s.Ready, "--etcd-password-file")) {
			err = errors.New("it says: " + s.Ready)
		}
		return err
	})
	if text, err := os.ReadFile(n.agent.log); err != nil || !strings.Contains(string(text), "authentication failed") {
		l.t.Errorf("the log of the agent: %v\n%s", err, text)
	}
	n.agent.kill()
}
