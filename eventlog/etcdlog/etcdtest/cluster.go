package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Cluster is an etcd of several members on loopback ports.
type Cluster struct {
	members []*embed.Etcd
	configs []*embed.Config
}

// StartCluster runs a cluster of so many members.
func StartCluster(t testing.TB, size int) *Cluster {
	t.Helper()
	c := &Cluster{members: make([]*embed.Etcd, size)}
	var initial []string
	for i := range size {
		config := memberConfig(t, i)
		c.configs = append(c.configs, config)
		initial = append(initial, config.Name+"="+config.AdvertisePeerUrls[0].String())
	}
	for i, config := range c.configs {
		config.InitialCluster = strings.Join(initial, ",")
		c.begin(t, i)
	}
	for i := range c.members {
		c.awaitReady(t, i)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.Close()
		}
	})
	return c
}

func memberConfig(t testing.TB, i int) *embed.Config {
	config := embed.NewConfig()
	config.Name, config.Dir = fmt.Sprintf("member-%d", i), t.TempDir()
	client, peer := freeURL(t), freeURL(t)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.TickMs, config.ElectionMs = 50, 500
	config.UnsafeNoFsync = true
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return config
}

func freeURL(t testing.TB) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number was wanted
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func (c *Cluster) begin(t testing.TB, i int) {
	t.Helper()
	member, err := embed.StartEtcd(c.configs[i])
	if err != nil {
		t.Fatal(err)
	}
	c.members[i] = member
}

func (c *Cluster) awaitReady(t testing.TB, i int) {
	t.Helper()
	select {
	case <-c.members[i].Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		t.Fatalf("member %d of the cluster is not ready", i)
	}
}

// Endpoints are those of all members.
func (c *Cluster) Endpoints() []string {
	var endpoints []string
	for _, config := range c.configs {
		endpoints = append(endpoints, config.AdvertiseClientUrls[0].String())
	}
	return endpoints
}

// Client connects a new client to all members.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return Client(t, c.Endpoints()...)
}

// Leader is the number of the member that leads.
func (c *Cluster) Leader(t testing.TB) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for i, m := range c.members {
			if m.Server.MemberID() == m.Server.Leader() {
				return i
			}
		}
	}
	t.Fatal("the cluster has no leader")
	return 0
}

// MoveLeader makes another member lead.
func (c *Cluster) MoveLeader(t testing.TB) {
	t.Helper()
	leader := c.Leader(t)
	next := c.members[(leader+1)%len(c.members)].Server.MemberID()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.members[leader].Server.MoveLeader(ctx, uint64(c.members[leader].Server.MemberID()),
		uint64(next)); err != nil {
		t.Logf("move the leader: %v", err) // an election at the same time has done it
	}
}

// Restart stops a member and starts it again with its data.
func (c *Cluster) Restart(t testing.TB, i int) {
	t.Helper()
	c.members[i].Close()
	config := *c.configs[i] //nolint:govet // its locks are not in use any more
	c.configs[i] = &config
	config.ClusterState = embed.ClusterStateFlagExisting
	c.begin(t, i)
	c.awaitReady(t, i)
}
