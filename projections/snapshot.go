package projections

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// snapshotVersion is the form of a snapshot. One of another form is not read: the log is.
//
//	1  2026-11  the first
//	2  2026-11  held addresses say whether they are fresh, labelled, and assigned by a cloud provider
//	3  2026-11  nodes, the overlay, and the interfaces of containers
//	4  2026-11  what has become of what was there before the log
const snapshotVersion = 4

// A snapshot is a line of JSON for each row that is not derived from others: the position and configuration, pools,
// held addresses and released addresses, each table in key order. Equal states give equal bytes.
type snapshotLine struct {
	Version  int            `json:"v,omitzero"`
	Position *savedPosition `json:"position,omitzero"`
	Config   *savedConfig   `json:"config,omitzero"`
	Pool     *savedPool     `json:"pool,omitzero"`
	Held     *savedAddress  `json:"held,omitzero"`
	Released *savedReleased `json:"released,omitzero"`
	Overlay  *savedOverlay  `json:"overlay,omitzero"`
	Node     *savedNode     `json:"node,omitzero"`
	Origin   *savedOrigin   `json:"origin,omitzero"`
}

type savedPosition struct {
	Head        eventlog.Head `json:"head"`
	Time        time.Time     `json:"time"`
	FirstForget uint64        `json:"firstForget,omitzero"`
}

type savedConfig struct {
	Source  string        `json:"source"`
	Seq     uint64        `json:"seq"`
	Time    time.Time     `json:"time"`
	Subnets []ipam.Subnet `json:"subnets"`
}

type savedPool struct {
	Name        string `json:"name"`
	Size        int    `json:"size"`
	PreAllocate bool   `json:"preAllocate,omitzero"`
	Seq         uint64 `json:"seq"`
}

type savedAddress struct {
	Addr     netip.Addr  `json:"address"`
	Owner    ipam.Owner  `json:"owner"`
	PodUID   string      `json:"podUID,omitzero"`
	Node     string      `json:"node,omitzero"`
	Policy   ipam.Policy `json:"policy"`
	Fresh    bool        `json:"fresh,omitzero"`
	Labelled bool        `json:"labelled,omitzero"`
	Assigned string      `json:"assigned,omitzero"`
	Seq      uint64      `json:"seq"`
	Changed  int64       `json:"changed"`

	ContainerID string `json:"containerID,omitzero"`
	IfName      string `json:"ifName,omitzero"`
}

type savedReleased struct {
	Addr netip.Addr `json:"address"`
	Seq  uint64     `json:"seq"`
	At   int64      `json:"at"` // Unix seconds
}

type savedOverlay struct {
	Source   string                `json:"source"`
	Seq      uint64                `json:"seq"`
	Time     time.Time             `json:"time"`
	Networks []ipam.OverlayNetwork `json:"networks"`
}

type savedNode struct {
	Name      string         `json:"name"`
	Addresses []netip.Addr   `json:"addresses"`
	Machine   string         `json:"machine"`
	Subnets   []netip.Prefix `json:"subnets,omitzero"`
	Lost      int64          `json:"lost,omitzero"`
	Reason    string         `json:"reason,omitzero"`
	Seq       uint64         `json:"seq"`
	Changed   int64          `json:"changed"`
}

type savedOrigin struct {
	Adopted  string                 `json:"adopted,omitzero"`
	Source   string                 `json:"source,omitzero"`
	Objects  int                    `json:"objects,omitzero"`
	Outcome  eventlog.FormerOutcome `json:"outcome,omitzero"`
	Left     int                    `json:"left,omitzero"`
	Resolved int64                  `json:"resolved,omitzero"` // Unix seconds
}

// Save writes the state as a snapshot.
func (v *View) Save(w io.Writer) error { return v.save(w, v.position.Head.Generation) }

func (v *View) save(w io.Writer, generation string) error {
	buffered := bufio.NewWriterSize(w, 1<<16)
	out := jsontext.NewEncoder(buffered)
	p, c := v.position, v.config
	p.Head.Generation = generation
	err := errors.Join(
		json.MarshalEncode(out, snapshotLine{Version: snapshotVersion,
			Position: &savedPosition{p.Head, p.Time, p.FirstForget}}),
		json.MarshalEncode(out, snapshotLine{Config: &savedConfig{c.Source, c.Seq, c.Time, c.Subnets}}),
	)
	if o := *v.origin; o != (Origin{}) {
		saved := savedOrigin(o)
		saved.Resolved /= int64(time.Second)
		err = errors.Join(err, json.MarshalEncode(out, snapshotLine{Origin: &saved}))
	}
	for pool := range v.Pools() {
		err = errors.Join(err, json.MarshalEncode(out,
			snapshotLine{Pool: &savedPool{pool.Name, pool.Size, pool.PreAllocate, pool.Seq}}))
	}
	for a := range v.Addresses(netip.Addr{}) {
		if err != nil {
			break
		}
		err = json.MarshalEncode(out, snapshotLine{Held: saved(a)})
	}
	for r := range under[Released](v.txn, tableReleased, "id", nil) {
		if err != nil {
			break
		}
		err = json.MarshalEncode(out, snapshotLine{Released: &savedReleased{r.Addr, r.Seq, r.At / int64(time.Second)}})
	}
	if err == nil {
		err = v.saveNodes(out)
	}
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return fmt.Errorf("write snapshot at event %d: %w", p.Head.Seq, err)
	}
	return nil
}

func saved(a *Address) *savedAddress {
	s := &savedAddress{
		Addr: a.Addr, Owner: a.Owner, PodUID: a.PodUID, Node: a.Node, Policy: a.Policy,
		Fresh: a.Fresh, Labelled: a.Labelled, Assigned: a.Assigned, Seq: a.Seq, Changed: a.Changed,
	}
	if a.Attachment != nil {
		s.ContainerID, s.IfName = a.Attachment.ContainerID, a.Attachment.IfName
	}
	return s
}

func (v *View) saveNodes(out *jsontext.Encoder) error {
	if o := v.overlay; o.Seq > 0 {
		if err := json.MarshalEncode(out, snapshotLine{Overlay: &savedOverlay{o.Source, o.Seq, o.Time,
			o.Networks}}); err != nil {
			return err
		}
	}
	for n := range v.Nodes() {
		saved := savedNode(*n)
		if err := json.MarshalEncode(out, snapshotLine{Node: &saved}); err != nil {
			return err
		}
	}
	return nil
}

// Digest is the SHA-256 of the snapshot without the log's generation, in lower-case hex: replicas at one sequence
// number have equal digests, and so has a restored log.
func (v *View) Digest() string {
	sum := sha256.New()
	if err := v.save(sum, ""); err != nil {
		panic(err) // a hash takes every byte, and every row has been through the codec
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// restoreBatch is how many rows are written in one transaction.
const restoreBatch = 4096

// Restore builds a DB from a snapshot. Lines are decoded beside the writing of rows, as both cost about the same.
func Restore(r io.Reader) (*DB, error) {
	in := jsontext.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var first snapshotLine
	if err := json.UnmarshalDecode(in, &first, strict); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if first.Version != snapshotVersion || first.Position == nil {
		return nil, fmt.Errorf("read snapshot: it is of version %d, this program reads version %d", first.Version,
			snapshotVersion)
	}
	db := New(first.Position.Head.Generation)
	position := Position{Head: first.Position.Head, Time: first.Position.Time, FirstForget: first.Position.FirstForget}
	batches, stop := make(chan lineBatch, 2), make(chan struct{})
	go decodeLines(in, batches, stop)
	err := db.restore(batches, position)
	close(stop)
	for range batches { // until nobody reads from r any more
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return db, nil
}

var strict = json.RejectUnknownMembers(true)

// lineBatch is some lines of a snapshot, and what came after them.
type lineBatch struct {
	lines []snapshotLine
	err   error
}

func decodeLines(in *jsontext.Decoder, out chan<- lineBatch, stop <-chan struct{}) {
	defer close(out)
	for {
		var batch lineBatch
		for len(batch.lines) < restoreBatch && batch.err == nil {
			var line snapshotLine
			if batch.err = json.UnmarshalDecode(in, &line, strict); batch.err == nil {
				batch.lines = append(batch.lines, line)
			}
		}
		select {
		case out <- batch:
		case <-stop:
			return
		}
		if batch.err != nil {
			return
		}
	}
}

func (db *DB) restore(batches <-chan lineBatch, position Position) error {
	for batch := range batches {
		t := db.Write()
		for _, line := range batch.lines {
			if err := t.restore(line); err != nil {
				t.Abort()
				return err
			}
		}
		t.position = position
		t.Commit()
		if batch.err != nil && !errors.Is(batch.err, io.EOF) {
			return batch.err
		}
	}
	return nil
}

func (t *Txn) restore(line snapshotLine) error {
	switch {
	case line.Config != nil:
		t.configure(newConfig(line.Config.Source, line.Config.Seq, line.Config.Time, line.Config.Subnets))
	case line.Origin != nil:
		o := Origin(*line.Origin)
		o.Resolved *= int64(time.Second)
		t.origin = &o
	case line.Pool != nil:
		p := line.Pool
		t.insert(tablePools, &Pool{Name: p.Name, Size: p.Size, PreAllocate: p.PreAllocate, Seq: p.Seq})
	case line.Held != nil:
		t.restoreHeld(line.Held)
	case line.Overlay != nil:
		o := line.Overlay
		if err := ipam.CheckOverlay(o.Networks); err != nil {
			return err
		}
		t.configureOverlay(newOverlay(o.Source, o.Seq, o.Time, o.Networks))
	case line.Node != nil:
		t.restoreNode(line.Node)
	case line.Released != nil:
		r := line.Released
		subnet, ok := t.config.SubnetOf(r.Addr)
		if !ok {
			return fmt.Errorf("released address %s is in no subnet", r.Addr)
		}
		t.remember(&Released{Addr: r.Addr, Subnet: subnet, Seq: r.Seq, At: r.At * int64(time.Second)})
	default:
		return errors.New("a line without a row")
	}
	return nil
}

func (t *Txn) restoreHeld(a *savedAddress) {
	subnet, configured := t.config.SubnetOf(a.Addr)
	if configured {
		t.setHeld(subnet, a.Addr, true)
		t.ownSubnet(subnet).Held++
	}
	t.putAddress(&Address{
		Addr: a.Addr, Owner: canonical(a.Owner), PodUID: a.PodUID, Node: shared(a.Node), Policy: a.Policy,
		Draining: !configured, Fresh: a.Fresh, Labelled: a.Labelled, Assigned: shared(a.Assigned), Seq: a.Seq,
		Changed:    a.Changed,
		Attachment: attachment(a.ContainerID, a.IfName),
	})
	t.count(a.Owner, 1)
}

func (t *Txn) restoreNode(saved *savedNode) {
	n := Node(*saved)
	t.insert(tableNodes, &n)
	for _, subnet := range n.Subnets {
		t.insert(tableNodeSubnets, &nodeSubnet{Subnet: subnet, Node: n.Name})
		if network, index, ok := t.overlay.find(subnet); ok {
			t.taken(network, index)
		} else {
			o := *t.overlay
			o.strays = nil
			t.configureOverlay(&o)
		}
	}
}
