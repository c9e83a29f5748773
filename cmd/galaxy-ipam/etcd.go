package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/embedded"
	"galaxy/pause"
)

// How often etcd is asked how full it is, and how long the response may take.
const (
	sizeEvery   = 15 * time.Second
	sizeTimeout = 3 * time.Second
)

// fullness is how full etcd is: its database, and the disk of one that runs in this process.
type fullness struct {
	mu      sync.Mutex
	members map[string]member // by endpoint
	room    embedded.Room     // zero without an embedded etcd
	why     error             // why the disk could not be checked
}

// member is a member of etcd, as it says itself.
type member struct {
	size, quota int64 // bytes of the database; a quota of 0 is not known
	errs        []string
}

// noteRoom takes what the disk has left, and reports whether that is worth a line in the log.
func (f *fullness) noteRoom(room embedded.Room, err error) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = room.Refusing != f.room.Refusing || room.Low() != f.room.Low() || (err != nil) != (f.why != nil)
	f.room, f.why = room, err
	return news
}

// noteMember takes what a member says of itself.
func (f *fullness) noteMember(endpoint string, m member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members == nil {
		f.members = map[string]member{}
	}
	f.members[endpoint] = m
}

// refusing says why nothing can be written; "" if it can.
func (f *fullness) refusing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.room.Refusing {
		return ""
	}
	return f.room.String()
}

// todo is what a person has to do before etcd is full.
func (f *fullness) todo() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why != nil {
		all = append(all, f.why.Error())
	}
	if f.room.Low() && f.room.Total > 0 {
		all = append(all, f.room.String()+": make the disk larger, or remove what is not etcd's")
	}
	for _, endpoint := range slices.Sorted(maps.Keys(f.members)) {
		m := f.members[endpoint]
		if len(m.errs) > 0 {
			all = append(all, fmt.Sprintf("etcd at %s says: %s", endpoint, strings.Join(m.errs, "; ")))
		}
		if m.quota > 0 && m.size > m.quota/5*4 {
			all = append(all, fmt.Sprintf("the database of etcd at %s has %d MiB of its quota of %d MiB: compact and "+
				"defragment it, or raise the quota, before it takes no more writes", endpoint, m.size>>20, m.quota>>20))
		}
	}
	return all
}

// keepRoom watches the disk of the embedded etcd until ctx ends.
func (p *program) keepRoom(ctx context.Context) error {
	p.embedded.WatchRoom(ctx, func(room embedded.Room, err error) {
		p.metrics.EtcdDisk(room.Free, room.Total)
		if !p.full.noteRoom(room, err) {
			return
		}
		switch {
		case err != nil:
			p.logger.Error("etcd disk check failed", zap.Error(err))
		case room.Refusing:
			p.logger.Error("etcd disk full; writes refused until there is space",
				zap.Stringer("room", room))
		case room.Low():
			p.logger.Warn("etcd disk nearly full", zap.Stringer("room", room))
		default:
			p.logger.Info("etcd disk has space again", zap.Stringer("room", room))
		}
	})
	return nil
}

// keepSizes asks the members of etcd how full they are, until ctx ends.
func (p *program) keepSizes(ctx context.Context) error {
	for ctx.Err() == nil {
		for _, endpoint := range p.client.Endpoints() {
			if m, err := sizeOf(ctx, p.client, endpoint); err == nil {
				p.full.noteMember(endpoint, m)
				p.metrics.EtcdSize(endpoint, m.size, m.quota, len(m.errs) > 0)
			}
		}
		_ = pause.For(ctx, sizeEvery) // the loop sees that ctx has ended
	}
	return nil
}

func sizeOf(ctx context.Context, client *clientv3.Client, endpoint string) (member, error) {
	ctx, cancel := context.WithTimeout(ctx, sizeTimeout)
	defer cancel()
	s, err := client.Status(ctx, endpoint)
	if err != nil {
		return member{}, err // whether etcd answers is checked elsewhere
	}
	return member{size: s.DbSize, quota: s.DbSizeQuota, errs: s.Errors}, nil
}
