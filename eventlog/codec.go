package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Version is the envelope version that this program writes, and the newest that it reads.
//
//	1  2026-11  the first
const Version = 1

// Event is a decoded event: an immutable fact.
type Event struct {
	Seq   uint64
	Time  time.Time // never before the time of the event before it in the stream
	Actor string    // who decided: the name of the replica, or of the tool
	Cause string    // why: the uid of a pod, the id of a request
	Prev  Hash      // of the event before it
	Data  Data
}

// envelope is the stored form. It is read in one pass, with the data as the type that it is of.
type envelope[D any] struct {
	Version int       `json:"v"`
	Seq     uint64    `json:"seq"`
	Type    Type      `json:"type"`
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	Cause   string    `json:"cause,omitzero"`
	Prev    Hash      `json:"prev"`
	Data    D         `json:"data"`
}

// Encode makes the record of an event. Equal events give equal bytes. The envelope is written by hand, in the order of
// its fields, as every decision waits for it.
func Encode(e Event) (Record, error) {
	line := append(make([]byte, 0, 640), `{"v":`...)
	line = strconv.AppendInt(line, Version, 10)
	line = append(line, `,"seq":`...)
	line = strconv.AppendUint(line, e.Seq, 10)
	line = append(line, `,"type":"`...)
	line = append(line, e.Data.Type()...)
	line = append(line, `","time":"`...)
	line = e.Time.UTC().AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","actor":`...)
	line, err := jsontext.AppendQuote(line, e.Actor)
	if err == nil && e.Cause != "" {
		line = append(line, `,"cause":`...)
		line, err = jsontext.AppendQuote(line, e.Cause)
	}
	line = append(line, `,"prev":"`...)
	line = e.Prev.append(line)
	line = append(line, `","data":`...)
	if err == nil {
		out := bytes.NewBuffer(line)
		err = json.MarshalWrite(out, e.Data)
		line = append(out.Bytes(), '}')
	}
	if err != nil {
		return Record{}, fmt.Errorf("encode event %d, %s: %w", e.Seq, e.Data.Type(), err)
	}
	return Record{Seq: e.Seq, Bytes: line}, nil
}

// Decode reads a record. Bytes that are no event, unknown fields and a sequence number that is not the record's are
// ErrCorrupt; an unknown type is an *UnknownTypeError, another version a *VersionError. Nothing is skipped.
func Decode(r Record) (Event, error) {
	t, err := typeOf(r)
	if err != nil {
		return Event{}, err
	}
	decode := decoders[t]
	if decode == nil {
		return Event{}, &UnknownTypeError{Seq: r.Seq, Type: t, Version: Version}
	}
	e, err := decode(r.Bytes)
	if err != nil {
		return Event{}, fmt.Errorf("%w: event %d, %s: %w", ErrCorrupt, r.Seq, t, err)
	}
	if e.Seq != r.Seq {
		return Event{}, fmt.Errorf("%w: event %d says that it is number %d", ErrCorrupt, r.Seq, e.Seq)
	}
	return e, nil
}

// typeOf finds the type of an event. The form in which this version writes events is recognised at a glance; whatever
// looks otherwise is read with care, its version first, as a newer one may have other fields.
func typeOf(r Record) (Type, error) {
	const start = `{"v":1,"seq":`
	if rest, ok := bytes.CutPrefix(r.Bytes, []byte(start)); ok {
		rest = bytes.TrimLeft(rest, "0123456789")
		if rest, ok = bytes.CutPrefix(rest, []byte(`,"type":"`)); ok {
			if end := bytes.IndexByte(rest, '"'); end > 0 && bytes.IndexByte(rest[:end], '\\') < 0 {
				return Type(rest[:end]), nil
			}
		}
	}
	var head struct {
		Version int  `json:"v"`
		Type    Type `json:"type"`
	}
	if err := json.Unmarshal(r.Bytes, &head); err != nil {
		return "", fmt.Errorf("%w: event %d: %w", ErrCorrupt, r.Seq, err)
	}
	if head.Version != Version {
		return "", &VersionError{Seq: r.Seq, Found: head.Version, Known: Version}
	}
	return head.Type, nil
}

// decoders read the events of each type.
var decoders = map[Type]func([]byte) (Event, error){
	TypeSubnetsConfigured: decode[SubnetsConfigured],
	TypeAddressAllocated:  decode[AddressAllocated],
	TypeAddressBound:      decode[AddressBound],
	TypeAddressReserved:   decode[AddressReserved],
	TypeAddressReleased:   decode[AddressReleased],
	TypeAddressAssigned:   decode[AddressAssigned],
	TypeAddressUnassigned: decode[AddressUnassigned],
	TypePoolSized:         decode[PoolSized],
	TypePoolDeleted:       decode[PoolDeleted],

	TypeRunningPodsAdopted:    decode[RunningPodsAdopted],
	TypeFormerObjectsFound:    decode[FormerObjectsFound],
	TypeFormerObjectsResolved: decode[FormerObjectsResolved],

	TypeOverlayConfigured:  decode[OverlayConfigured],
	TypeNodeJoined:         decode[NodeJoined],
	TypeNodeAddressChanged: decode[NodeAddressChanged],
	TypeNodeLost:           decode[NodeLost],
	TypeNodeSubnetAssigned: decode[NodeSubnetAssigned],
	TypeNodeSubnetReleased: decode[NodeSubnetReleased],
	TypeNodeForgotten:      decode[NodeForgotten],
}

func decode[D any, P interface {
	*D
	Data
}](text []byte) (Event, error) {
	var env envelope[*D]
	if err := json.Unmarshal(text, &env, strict); err != nil {
		return Event{}, err
	}
	if env.Data == nil {
		return Event{}, errors.New("it has no data")
	}
	return Event{Seq: env.Seq, Time: env.Time, Actor: env.Actor, Cause: env.Cause, Prev: env.Prev, Data: P(env.Data)},
		nil
}

var strict = json.RejectUnknownMembers(true)

// Cursor walks a stream from a head and checks each event against the one before it. It also numbers and links the
// events that are to be appended, so that reading and writing cannot disagree.
type Cursor struct {
	Head Head
	Time time.Time // of the event at Head; the zero time if it is not known
}

// Read decodes the record that must come next, and moves to it.
func (c *Cursor) Read(r Record) (Event, error) {
	if r.Seq != c.Head.Seq+1 {
		return Event{}, fmt.Errorf("%w: after event %d comes %d", ErrCorrupt, c.Head.Seq, r.Seq)
	}
	e, err := Decode(r)
	if err != nil {
		return Event{}, err
	}
	if e.Prev != c.Head.Hash {
		return Event{}, fmt.Errorf("%w: event %d follows the hash %q, but event %d hashes to %q: one of them was "+
			"edited", ErrCorrupt, r.Seq, e.Prev, c.Head.Seq, c.Head.Hash)
	}
	if e.Time.Before(c.Time) {
		return Event{}, fmt.Errorf("%w: event %d is of %s, before event %d of %s", ErrCorrupt, r.Seq,
			e.Time.Format(time.RFC3339Nano), c.Head.Seq, c.Time.Format(time.RFC3339Nano))
	}
	c.move(r, e)
	return e, nil
}

// Write makes the next event of the stream, and moves to it. The event gets the time now, or that of the event before
// it when the clock has gone back.
func (c *Cursor) Write(now time.Time, actor, cause string, data Data) (Event, Record, error) {
	if now = now.UTC().Round(0); now.Before(c.Time) {
		now = c.Time
	}
	e := Event{Seq: c.Head.Seq + 1, Time: now, Actor: actor, Cause: cause, Prev: c.Head.Hash, Data: data}
	r, err := Encode(e)
	if err != nil {
		return Event{}, Record{}, err
	}
	c.move(r, e)
	return e, r, nil
}

func (c *Cursor) move(r Record, e Event) {
	c.Head.Seq, c.Head.Hash, c.Time = r.Seq, r.Hash(), e.Time
}
