package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-memdb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
	"galaxy/eventlog/etcdlog"
	"galaxy/eventlog/etcdlog/etcdtest"
	"galaxy/ipam"
	"galaxy/projections"
)

// BenchmarkLoad compares the replay of a log into a projection with the slower of its two floors, measured beside it:
// reading the same keys page by page, and inserting the same rows into bare memdb tables with the same indexes.
func BenchmarkLoad(b *testing.B) {
	const count = 100_000
	client := etcdtest.Start(b).Client(b)
	log := openLog(b, client)
	fillLog(b, log, count)
	rows := rowsOf(b, log)
	var ours, pages, inserts side
	for b.Loop() {
		for range 3 {
			pages.round(func() { readPages(b, client, count) })
			inserts.round(func() { insertRows(b, rows) })
			ours.round(func() {
				if _, err := projections.Load(b.Context(), log, eventlog.StreamIPAM, projections.Until{},
					nil); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
	floor := max(median(pages.took), median(inserts.took))
	b.ReportMetric(float64(floor)/float64(median(ours.took)), "ratio")
	b.ReportMetric(0.7, "target")
	b.ReportMetric(count/median(ours.took).Seconds(), "events/s")
	b.ReportMetric(count/median(pages.took).Seconds(), "raw-reads/s")
	b.ReportMetric(count/median(inserts.took).Seconds(), "bare-inserts/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLoadSnapshot reports how much faster a start from a snapshot is than a replay of the whole log.
func BenchmarkLoadSnapshot(b *testing.B) {
	log := openLog(b, etcdtest.Start(b).Client(b))
	fillLog(b, log, 100_000)
	began := time.Now()
	db, err := projections.Load(b.Context(), log, eventlog.StreamIPAM, projections.Until{}, nil)
	replay := time.Since(began)
	if err == nil {
		err = log.SaveSnapshot(b.Context(), eventlog.StreamIPAM, db.View().Position().Head, db.View().Save)
	}
	var took []time.Duration
	for b.Loop() && err == nil {
		began := time.Now()
		_, err = projections.Load(b.Context(), log, eventlog.StreamIPAM, projections.Until{}, nil)
		took = append(took, time.Since(began))
	}
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(replay)/float64(median(took)), "times-faster")
	b.ReportMetric(0, "ns/op")
}

// fillLog appends a configuration and count allocations.
func fillLog(b *testing.B, log *etcdlog.Log, count int) {
	ctx := context.Background()
	head, err := log.Head(ctx, eventlog.StreamIPAM)
	if err != nil {
		b.Fatal(err)
	}
	all := subnets(b, config)
	cursor := eventlog.Cursor{Head: head}
	var batch []eventlog.Record
	flush := func() {
		if head, err = log.Append(ctx, eventlog.StreamIPAM, head, batch, eventlog.Fence{}); err != nil {
			b.Fatal(err)
		}
		batch = nil
	}
	add := func(data eventlog.Data) {
		_, r, err := cursor.Write(time.Now(), "galaxy-ipam-0_5f3a9c01", "cb875e67-ad1f-4af2-bf9a-97600f666a35", data)
		if err != nil {
			b.Fatal(err)
		}
		if batch = append(batch, r); len(batch) == log.Limits().Events {
			flush()
		}
	}
	add(&eventlog.SubnetsConfigured{Source: "bench", Subnets: all})
	for i := range count - 1 {
		pod, subnet := podOf(i), all[i%len(all)]
		add(&eventlog.AddressAllocated{
			Address: ipam.Plus(subnet.Ranges[0].First, uint64(i/len(all))), Subnet: subnet.Prefix, Owner: pod.Owner,
			PodUID: pod.UID, Node: nodeName(i),
		})
	}
	if len(batch) > 0 {
		flush()
	}
}

func readPages(b *testing.B, client *clientv3.Client, count int) {
	const page = 1000
	end := clientv3.GetPrefixRangeEnd("/galaxy/v1/log/ipam/")
	read := 0
	for from := "/galaxy/v1/log/ipam/"; ; {
		got, err := client.Get(b.Context(), from, clientv3.WithRange(end), clientv3.WithLimit(page))
		if err != nil {
			b.Fatal(err)
		}
		if read += len(got.Kvs); !got.More {
			break
		}
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
	if read != count {
		b.Fatalf("read %d keys, want %d", read, count)
	}
}

// bareRow is what the addresses table indexes of a row.
type bareRow struct {
	id, owner []byte
	row       *projections.Address
}

type bareIndex func(*bareRow) []byte

func (of bareIndex) FromObject(row any) (bool, []byte, error) { return true, of(row.(*bareRow)), nil }
func (of bareIndex) FromArgs(args ...any) ([]byte, error)     { return args[0].([]byte), nil }

func rowsOf(b *testing.B, log *etcdlog.Log) []*bareRow {
	db, err := projections.Load(b.Context(), log, eventlog.StreamIPAM, projections.Until{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var rows []*bareRow
	for i := range nodes * 1000 {
		subnet := subnets4(b)[i%4]
		a := db.View().Address(ipam.Plus(subnet.Ranges[0].First, uint64(i/4)))
		if a == nil {
			return rows
		}
		id, o := a.Addr.As16(), a.Owner
		owner := fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%s\x00", o.Pool, o.Kind, o.Namespace, o.App, o.Pod)
		rows = append(rows, &bareRow{id: id[:], owner: binary.BigEndian.AppendUint64(owner, ^a.Seq), row: a})
	}
	return rows
}

var parsed []ipam.Subnet

func subnets4(b *testing.B) []ipam.Subnet {
	if parsed == nil {
		parsed = subnets(b, config)
	}
	return parsed
}

func insertRows(b *testing.B, rows []*bareRow) {
	db, err := memdb.NewMemDB(&memdb.DBSchema{Tables: map[string]*memdb.TableSchema{"addresses": {
		Name: "addresses",
		Indexes: map[string]*memdb.IndexSchema{
			"id":    {Name: "id", Unique: true, Indexer: bareIndex(func(r *bareRow) []byte { return r.id })},
			"owner": {Name: "owner", Unique: true, Indexer: bareIndex(func(r *bareRow) []byte { return r.owner })},
		},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	const batch = 1000
	for len(rows) > 0 {
		n := min(batch, len(rows))
		txn := db.Txn(true)
		for _, row := range rows[:n] {
			if err := txn.Insert("addresses", row); err != nil {
				b.Fatal(err)
			}
		}
		txn.Commit()
		rows = rows[n:]
	}
}
