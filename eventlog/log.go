package eventlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
)

// The streams. Each has one expected writer, so that nothing contends.
const (
	StreamIPAM  = "ipam"  // subnets, pools, floating addresses; written by galaxy-ipam's leader
	StreamNodes = "nodes" // nodes and node subnets; written by galaxy-ipam's leader
)

// Hash is the SHA-256 of an event's stored bytes. The zero Hash stands before the first event, and its text form is
// empty.
type Hash [sha256.Size]byte

// IsZero reports whether h stands before the first event.
func (h Hash) IsZero() bool { return h == Hash{} }

// String is lower-case hex, or "" for the zero Hash.
func (h Hash) String() string {
	if h.IsZero() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

func (h Hash) append(text []byte) []byte {
	if h.IsZero() {
		return text
	}
	return hex.AppendEncode(text, h[:])
}

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote: 64 lower-case hex digits, or nothing.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	var parsed Hash
	if len(text) != hex.EncodedLen(len(parsed)) { // hex.Decode would write past the end
		return fmt.Errorf("hash of %d characters: want 64 lower-case hex digits", len(text))
	}
	if _, err := hex.Decode(parsed[:], text); err != nil || parsed.String() != string(text) {
		return fmt.Errorf("hash %q: want 64 lower-case hex digits", text)
	}
	*h = parsed
	return nil
}

// Head is the newest position of a stream: how far a writer has read, and what it may append after.
type Head struct {
	Seq        uint64 `json:"seq"`        // 0 for an empty stream
	Hash       Hash   `json:"hash"`       // of the event at Seq
	Generation string `json:"generation"` // of the log; new after every restore
}

// Record is an event as it is stored: its place, and the exact bytes that are hashed.
type Record struct {
	Seq   uint64
	Bytes []byte
}

// Hash is what the next event's "prev" must be.
func (r Record) Hash() Hash { return sha256.Sum256(r.Bytes) }

// Fence ties an append to a key of the election: it lands only while the key exists with this create revision. The zero
// Fence is no condition.
type Fence struct {
	Key      string
	Revision int64
}

// Limits are what one Append may carry.
type Limits struct {
	Events int // records in one transaction
	Bytes  int // sum of their bytes
}

// Check finds what is wrong with an append before it is tried: no records, numbers that do not go on from the head
// without holes, or, as ErrTooLarge, more than one Append may carry.
func (l Limits) Check(after Head, records []Record) error {
	if len(records) == 0 {
		return errors.New("no records")
	}
	size := 0
	for i, r := range records {
		if r.Seq != after.Seq+uint64(i)+1 {
			return fmt.Errorf("record %d has the number %d", i, r.Seq)
		}
		size += len(r.Bytes)
	}
	if len(records) > l.Events || size > l.Bytes {
		return fmt.Errorf("%w: %d records of %d bytes, at most %d of %d", ErrTooLarge, len(records), size, l.Events,
			l.Bytes)
	}
	return nil
}

// Log is the append-only log of one cluster. Implementations know bytes, sequence numbers and hashes, not meanings. All
// methods are safe for concurrent use. Package logtest holds the suite that every implementation must pass.
type Log interface {
	// Head reads the newest position of the stream, linearizably. An empty stream has Seq 0 and the log's generation.
	Head(ctx context.Context, stream string) (Head, error)

	// Append adds the records after a head, all or none. records[0].Seq must be after.Seq+1, and so on without holes.
	// It fails with ErrConflict, ErrFenced, ErrGeneration or ErrTooLarge when nothing was written. When the response of
	// the transaction is lost it finds out what happened, for as long as ctx lasts, and returns ErrOutcomeUnknown only
	// when ctx ends first. Returns the new head.
	Append(ctx context.Context, stream string, after Head, records []Record, fence Fence) (Head, error)

	// Read yields the records after a sequence number, in order, in batches, up to and including through (0: up to the
	// head at the moment of the call, all of one revision). A missing number ends it with ErrCorrupt.
	Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[[]Record, error]

	// Follow yields all records after the given head, in order, each exactly once, and then those that come, until ctx
	// ends or the caller stops. It survives disconnects and compaction. It ends with ErrGeneration or ErrCorrupt when
	// the log is not the one that was known.
	Follow(ctx context.Context, stream string, after Head) iter.Seq2[[]Record, error]

	// Limits are what one Append may carry.
	Limits() Limits

	// SaveSnapshot stores what write produces as the snapshot of the stream at a head. It is visible only when
	// complete. Older snapshots than the newest few are removed.
	SaveSnapshot(ctx context.Context, stream string, at Head, write func(io.Writer) error) error

	// LoadSnapshot opens the newest snapshot of this generation that is not past the sequence number atMost (0: any).
	// ErrNoSnapshot when there is none. The reader ends with an error if a part is missing or damaged.
	LoadSnapshot(ctx context.Context, stream string, atMost uint64) (Head, io.ReadCloser, error)
}
