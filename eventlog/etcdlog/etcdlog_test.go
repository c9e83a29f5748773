package etcdlog_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/eventlog/logtest"
)

const stream = "ipam"

func open(t testing.TB, client *clientv3.Client, options etcdlog.Options) *etcdlog.Log {
	t.Helper()
	log, err := etcdlog.Open(etcdtest.Context(t), client, options)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestLog(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	first, second := etcd.Client(t), etcd.Client(t)
	logtest.Run(t, func(t *testing.T) logtest.Rig {
		options := etcdlog.Options{Prefix: "/" + rand.Text(), CheckInterval: 200 * time.Millisecond}
		leader := options.Prefix + "/v1/lease/leader"
		return logtest.Rig{
			Log: open(t, first, options), Second: open(t, second, options),
			Elect: func(t *testing.T) eventlog.Fence {
				response, err := first.Put(etcdtest.Context(t), leader, "me")
				if err != nil {
					t.Fatal(err)
				}
				return eventlog.Fence{Key: leader, Revision: response.Header.Revision}
			},
			Depose: func(t *testing.T, f eventlog.Fence) {
				if _, err := first.Delete(etcdtest.Context(t), f.Key); err != nil {
					t.Fatal(err)
				}
			},
			Regenerate: func(t *testing.T) { regenerate(t, first, options.Prefix) },
		}
	})
}

// regenerate writes a new generation over the log in one transaction, as a restore would in the end.
func regenerate(t *testing.T, client *clientv3.Client, prefix string) {
	t.Helper()
	ctx := etcdtest.Context(t)
	g := etcdlog.NewGeneration(time.Now(), nil)
	value, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	heads, err := client.Get(ctx, prefix+"/v1/head/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	puts := []clientv3.Op{clientv3.OpPut(prefix+"/v1/generation", string(value))}
	for _, kv := range heads.Kvs {
		var head eventlog.Head
		if err := json.Unmarshal(kv.Value, &head); err != nil {
			t.Fatal(err)
		}
		head.Generation = g.ID
		value, err := json.Marshal(head)
		if err != nil {
			t.Fatal(err)
		}
		puts = append(puts, clientv3.OpPut(string(kv.Key), string(value)))
	}
	if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
		t.Fatal(err)
	}
}
