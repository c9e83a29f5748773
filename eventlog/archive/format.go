package archive

import (
	"fmt"
	"regexp"
	"time"

	"galaxy/eventlog"
)

// Format and Version are how a backup names itself.
//
//	1  2026-11  the first
const (
	Format  = "galaxy-log-backup"
	Version = 1
)

// Manifest is the first line of a backup: what it is of, and what is in it.
type Manifest struct {
	Format     string    `json:"format"`
	Version    int       `json:"version"`
	Generation string    `json:"generation"` // of the log
	Revision   int64     `json:"revision"`   // of etcd at the moment of the backup
	Time       time.Time `json:"time"`       // of the backup
	Streams    []Stream  `json:"streams"`    // sorted by name
	LeftOut    []LeftOut `json:"leftOut,omitzero"`
}

// LeftOut is a node's stream that is not in a backup, as it was damaged.
type LeftOut struct {
	Name string `json:"name"` // quoted
	Why  string `json:"why"`
}

// wordPattern is what an id of a generation is made of.
var wordPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Stream is a stream in a backup, and the head that it had.
type Stream struct {
	Name string        `json:"name"`
	Seq  uint64        `json:"seq"`
	Hash eventlog.Hash `json:"hash"`
}

// Events is how many events the backup holds.
func (m Manifest) Events() uint64 {
	var n uint64
	for _, s := range m.Streams {
		n += s.Seq
	}
	return n
}

// Heads are the heads of the streams, in the generation that was backed up.
func (m Manifest) Heads() map[string]eventlog.Head {
	heads := make(map[string]eventlog.Head, len(m.Streams))
	for _, s := range m.Streams {
		heads[s.Name] = eventlog.Head{Seq: s.Seq, Hash: s.Hash, Generation: m.Generation}
	}
	return heads
}

// check finds what is wrong with a manifest that was read.
func (m Manifest) check() error {
	if m.Format != Format {
		return fmt.Errorf("it is no backup of a log: its format is %q, want %q", m.Format, Format)
	}
	if m.Version != Version {
		return fmt.Errorf("the backup has version %d, this program understands version %d; use a release that knows both", m.Version, Version)
	}
	if m.Streams != nil && !wordPattern.MatchString(m.Generation) {
		return fmt.Errorf("%w: its generation is %q", ErrDamaged, m.Generation)
	}
	var events uint64
	for i, s := range m.Streams {
		if i > 0 && s.Name <= m.Streams[i-1].Name {
			return fmt.Errorf("stream %q stands after stream %q", s.Name, m.Streams[i-1].Name)
		}
		if err := eventlog.CheckStream(s.Name); err != nil {
			return err
		}
		if s.Seq == 0 || s.Hash.IsZero() {
			return fmt.Errorf("stream %q has no events or no hash", s.Name)
		}
		if events+s.Seq < events {
			return fmt.Errorf("stream %q has %d events", s.Name, s.Seq)
		}
		events += s.Seq
	}
	return nil
}

// section is the line before the events of a stream.
type section struct {
	Stream string `json:"stream"`
	Events uint64 `json:"events"`
}

// seal is the last line.
type seal struct {
	SHA256 string `json:"sha256"` // lower-case hex
}
