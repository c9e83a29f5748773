package etcdlog

import (
	"fmt"
	"regexp"
	"time"
)

// DefaultPrefix is the root of all keys when Options name none.
const DefaultPrefix = "/galaxy"

// What fits an etcd that is configured as it comes: 128 operations in a transaction, one of which is the head, and
// requests of 1.5 MiB, part of which are keys and conditions.
const (
	DefaultMaxEvents = 127
	DefaultMaxBytes  = 1 << 20
)

// Options say where the log is and how it is used. The zero Options are the defaults.
type Options struct {
	// Prefix is the root of all keys: starts with "/" and does not end with one. Default DefaultPrefix.
	Prefix string

	// MaxEvents and MaxBytes (of the events alone) bound one Append. Raise them together with the server's
	// --max-txn-ops (at least MaxEvents+1) and --max-request-bytes. Defaults DefaultMaxEvents and DefaultMaxBytes.
	MaxEvents int
	MaxBytes  int

	// ReadOnly opens a log that must be there already. Nothing is ever written through it.
	ReadOnly bool

	// MustExist opens a log for writing that must be there already.
	MustExist bool

	// CheckInterval is how often a follower compares itself with the head of the stream, to notice an etcd that was
	// restored or replaced and watches that have lost something. Default 10 s.
	CheckInterval time.Duration

	// AttemptTimeout bounds one request of Append or Follow, after which it is made again. It must be longer than etcd
	// takes for a slow transaction. Default 5 s.
	AttemptTimeout time.Duration
}

func (o Options) complete() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return Options{}, err
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = DefaultMaxEvents
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.CheckInterval == 0 {
		o.CheckInterval = 10 * time.Second
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = 5 * time.Second
	}
	if o.MaxEvents < 0 || o.MaxBytes < 0 || o.CheckInterval < 0 || o.AttemptTimeout < 0 {
		return Options{}, fmt.Errorf("options of the log: negative limit or interval in %+v", o)
	}
	return o, nil
}

var prefixPattern = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

func checkPrefix(prefix string) error {
	if !prefixPattern.MatchString(prefix) {
		return fmt.Errorf("prefix %q of the log: want one or more of /<letters, digits, '.', '_', '-'> and no slash "+
			"at the end", prefix)
	}
	return nil
}
