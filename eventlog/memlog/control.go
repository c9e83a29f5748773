package memlog

import (
	"crypto/rand"

	"galaxy/eventlog"
)

// Fault is what goes wrong with an append. The zero Fault is nothing.
type Fault struct {
	Err    error // what Append returns
	Landed bool  // whether the records are written all the same, as when only the response was lost
}

// SetFault has every append ask first what is to go wrong with it. Nil ends it.
func (l *Log) SetFault(fault func(stream string, after eventlog.Head) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// faultFor asks without holding mu, so that a fault may use the log, for example to be faster than the append.
func (l *Log) faultFor(stream string, after eventlog.Head) Fault {
	l.mu.Lock()
	fault := l.fault
	l.mu.Unlock()
	if fault == nil {
		return Fault{}
	}
	return fault(stream, after)
}

// SetFence makes a key of the election exist, with this create revision.
func (l *Log) SetFence(key string, revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences[key] = revision
}

// DropFence removes a key of the election: whoever appends under it is deposed.
func (l *Log) DropFence(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.fences, key)
}

// Regenerate gives the log a new generation and keeps its events, as a restore of a backup of this moment would.
func (l *Log) Regenerate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation = rand.Text()
	for _, s := range l.streams {
		s.head.Generation = l.generation
	}
	l.wake()
}
