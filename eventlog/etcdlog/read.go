package etcdlog

import (
	"context"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"galaxy/eventlog"
)

// Pages are asked for by the range of their sequence numbers, which have no holes. So etcd need not count what lies
// beyond a page, as it does under a limit, and a page that is not full is a proof of damage.
const (
	firstPage = 512  // events of the first page, which comes together with the head
	fullPage  = 2048 // events of the pages after it, at most
	pageBytes = 2 << 20
)

// Read yields the records after a sequence number. See eventlog.Log. A through that lies past the head reads to the
// head.
func (l *Log) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		start, err := l.start(ctx, stream, after)
		if err != nil {
			yield(nil, err)
			return
		}
		start.pages(ctx, through, yield)
	}
}

// reading is a walk through one stream at one revision of etcd.
type reading struct {
	log      *Log
	stream   string
	events   string // the prefix of the stream's events
	after    uint64
	head     eventlog.Head
	revision int64
	first    []*keyValue // the first page, which may go past the head; nil if it is still to be read
}

// start reads the head, the generation and the first page in one round trip.
func (l *Log) start(ctx context.Context, stream string, after uint64) (*reading, error) {
	if err := eventlog.CheckStream(stream); err != nil {
		return nil, err
	}
	r := &reading{log: l, stream: stream, events: l.keys.events(stream), after: after}
	get := append(l.getHead(stream), r.get(after+1, after+firstPage))
	response, err := l.client.Txn(ctx).Then(get...).Commit()
	if err != nil {
		return nil, fmt.Errorf("read stream %s after event %d: %w", stream, after, err)
	}
	if r.head, err = l.headIn(stream, response); err != nil {
		return nil, err
	}
	r.revision, r.first = response.Header.Revision, rangeOf(response, afterHead)
	return r, nil
}

func (r *reading) get(first, last uint64, options ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpGet(eventKey(r.events, first), append(options, clientv3.WithRange(eventKey(r.events, last+1)))...)
}

// pages yields everything up to through, or to the head, until the caller wants no more.
func (r *reading) pages(ctx context.Context, through uint64, yield func([]eventlog.Record, error) bool) {
	if through == 0 || through > r.head.Seq {
		through = r.head.Seq
	}
	if through <= r.after {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	first, last := r.after+1, min(through, r.after+firstPage)
	records, err := r.records(r.first, first, last)
	if r.first == nil {
		records, err = r.page(ctx, first, last)
	}
	for {
		if err != nil {
			cancel()
			yield(nil, err)
			return
		}
		// The next page is on its way while the caller works on this one.
		first, last = last+1, min(through, last+nextPage(records))
		var next <-chan page
		if first <= through {
			next = r.fetch(ctx, first, last)
		}
		if more := yield(records, nil); !more || next == nil {
			cancel()
			if next != nil {
				<-next
			}
			return
		}
		got := <-next
		records, err = got.records, got.err
	}
}

// nextPage is how many events the next page may hold, if they are as large as these.
func nextPage(records []eventlog.Record) uint64 {
	size := 1
	for _, r := range records {
		size += len(r.Bytes)
	}
	return uint64(max(1, min(fullPage, pageBytes*len(records)/size)))
}

type page struct {
	records []eventlog.Record
	err     error
}

// fetch reads a page beside the caller. The channel gets exactly one page.
func (r *reading) fetch(ctx context.Context, first, last uint64) <-chan page {
	done := make(chan page, 1)
	go func() {
		var p page
		p.records, p.err = r.page(ctx, first, last)
		done <- p
	}()
	return done
}

func (r *reading) page(ctx context.Context, first, last uint64) ([]eventlog.Record, error) {
	response, err := r.log.client.Do(ctx, r.get(first, last, clientv3.WithRev(r.revision)))
	if isCompacted(err) {
		// The log only grows, so what stood at the old revision stands unchanged at a newer one.
		if response, err = r.log.client.Do(ctx, r.get(first, last)); err == nil {
			r.revision = response.Get().Header.Revision
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s, events %d to %d: %w", r.stream, first, last, err)
	}
	return r.records(response.Get().Kvs, first, last)
}

// records makes sure that the events first to last are all there. There may be more after them.
func (r *reading) records(kvs []*keyValue, first, last uint64) ([]eventlog.Record, error) {
	n := int(last - first + 1)
	records := make([]eventlog.Record, 0, n)
	for i := range min(n, len(kvs)) {
		seq, err := seqOf(kvs[i].Key, r.events)
		if err != nil {
			return nil, corrupt("stream %s: %w", r.stream, err)
		}
		if seq != first+uint64(i) {
			return nil, corrupt("stream %s: event %d is missing, event %d follows", r.stream, first+uint64(i), seq)
		}
		records = append(records, eventlog.Record{Seq: seq, Bytes: kvs[i].Value})
	}
	if len(records) < n {
		return nil, corrupt("stream %s: event %d is missing, the head is at event %d", r.stream,
			first+uint64(len(records)), r.head.Seq)
	}
	return records, nil
}
