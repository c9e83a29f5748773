package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sys/unix"
)

// DefaultReserve is what is kept free on the disk: etcd ends itself when it cannot write, and writes up to two files of
// its write-ahead log (64 MiB each) and a part of its database between two checks.
const DefaultReserve = 256 << 20

// roomPoll is how often the disk is checked.
const roomPoll = time.Second

// Room is what the disk has left, in bytes.
type Room struct {
	Total, Free uint64
	Reserve     uint64
	Refusing    bool // writes are refused, to everybody, until there is room again
}

// Low is true for a disk with less than a tenth of it free, or where writes are refused.
func (r Room) Low() bool { return r.Refusing || r.Free < r.Total/10 }

func (r Room) String() string {
	text := fmt.Sprintf("%d MiB of %d MiB are left on the disk of etcd", r.Free>>20, r.Total>>20)
	if r.Refusing {
		text += fmt.Sprintf("; nothing is written until there are %d MiB", r.enough()>>20)
	}
	return text
}

// enough is where refusing ends: somewhat above where it begins, so that it does not come and go.
func (r Room) enough() uint64 { return r.Reserve + r.Reserve/4 }

// next says whether writes have to be refused.
func (r Room) next() bool {
	if r.Refusing {
		return r.Free < r.enough()
	}
	return r.Free < r.Reserve
}

// roomOf looks at the disk of a folder.
func roomOf(dir string) (Room, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(dir, &at); err != nil {
		return Room{}, fmt.Errorf("room of %s: %w", dir, err)
	}
	return Room{Total: at.Blocks * uint64(at.Bsize), Free: at.Bavail * uint64(at.Bsize)}, nil
}

// quotaFor is how large a database may be that has a size, on a disk with some room in all: defragmenting writes it a
// second time, and there is the write-ahead log beside it. One that is larger already may stay so.
func quotaFor(disk uint64, database int64) int64 {
	return min(DefaultQuotaBytes, max(int64(disk/5*2), database/4*5))
}

// quotaOf is quotaFor the folder of an etcd, which may not be there yet.
func quotaOf(dir string) int64 {
	room, err := roomOf(dir)
	if err != nil {
		return DefaultQuotaBytes
	}
	size := int64(0)
	if info, err := os.Stat(filepath.Join(dir, "member", "snap", "db")); err == nil {
		size = info.Size()
	}
	return quotaFor(room.Total, size)
}

// WatchRoom looks at the disk until ctx ends, reports what it sees, and has etcd refuse writes (its alarm NOSPACE)
// while there is less than the reserve: an etcd that cannot write ends itself. It ends that when there is room again,
// also when a former life began it.
func (s *Server) WatchRoom(ctx context.Context, report func(Room, error)) {
	ticker := time.NewTicker(roomPoll)
	defer ticker.Stop()
	for {
		room, err := s.checkRoom(ctx)
		if ctx.Err() != nil {
			return
		}
		report(room, err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// checkRoom compares the disk with what etcd refuses, and repairs the difference.
func (s *Server) checkRoom(ctx context.Context) (Room, error) {
	room, err := roomOf(s.dir)
	if err != nil {
		return room, err
	}
	room.Reserve = min(s.reserve, room.Total/8)
	room.Refusing = s.refuses()
	want := room.next()
	if want == room.Refusing || !want && s.full() {
		return room, nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomPoll)
	defer cancel()
	action := etcdserverpb.AlarmRequest_ACTIVATE
	if !want {
		action = etcdserverpb.AlarmRequest_DEACTIVATE
	}
	_, err = s.etcd.Server.Alarm(ctx, &etcdserverpb.AlarmRequest{Action: action,
		MemberID: uint64(s.etcd.Server.MemberID()), Alarm: etcdserverpb.AlarmType_NOSPACE})
	if err != nil {
		return room, fmt.Errorf("have etcd refuse writes (%t): %w", want, err)
	}
	room.Refusing = want
	return room, nil
}

// refuses is true while this member has the alarm NOSPACE.
func (s *Server) refuses() bool {
	self := uint64(s.etcd.Server.MemberID())
	return noSpace(s.etcd.Server, func(member uint64) bool { return member == self })
}

// full is true for a database near its quota: then the alarm is etcd's own, and a person has to end it.
func (s *Server) full() bool {
	backend := s.etcd.Server.Backend()
	return backend.Size() > s.quota/20*19
}
