package projections

import (
	"errors"
	"iter"
	"time"

	"github.com/hashicorp/go-memdb"

	"galaxy/eventlog"
)

// DB is the projection of a stream. Which tables have rows depends on the stream: ipam and the streams of nodes have
// addresses, nodes has nodes. It belongs to one goroutine; what others may read are its Views.
type DB struct {
	mem      *memdb.MemDB
	config   *Config
	overlay  *Overlay
	origin   *Origin
	position Position
}

// New is the projection of an empty log of the given generation.
func New(generation string) *DB {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, table := range []*memdb.TableSchema{
		addressesTable(), releasedTable(), coolingTable(), segmentsTable(), untouchedTable(), scopesTable(),
		poolsTable(), subnetsTable(),
		nodesTable(), nodeSubnetsTable(), overlaysTable(),
	} {
		schema.Tables[table.Name] = table
	}
	mem, err := memdb.NewMemDB(schema)
	if err != nil {
		panic(err) // the schema above is wrong, whatever the input
	}
	return &DB{
		// A snapshot is a database of its own that does not track who watches it, which halves the cost of writing.
		mem:      mem.Snapshot(),
		config:   newConfig("", 0, time.Time{}, nil),
		overlay:  newOverlay("", 0, time.Time{}, nil),
		origin:   new(Origin),
		position: Position{Head: eventlog.Head{Generation: generation}},
	}
}

// View is the DB at one position. It never changes, and may be used by many goroutines.
type View struct {
	txn      *memdb.Txn // what is read by order; inside a Txn it sees what the Txn has written
	base     *memdb.Txn // what is read by exact key; inside a Txn it is the state before it
	config   *Config
	overlay  *Overlay
	origin   *Origin
	position Position
	pending  *pending // only inside a Txn
}

// Position is how far the log has been folded.
type Position struct {
	Head        eventlog.Head
	Time        time.Time // of the event at Head
	FirstForget uint64    // the oldest release that was forgotten; 0 if none was. See Txn.forgot
}

// View is the newest committed state.
func (db *DB) View() *View {
	txn := db.mem.Txn(false)
	return &View{txn: txn, base: txn, config: db.config, overlay: db.overlay, origin: db.origin, position: db.position}
}

// Clone is an independent DB at the newest committed state of this one, made in constant time.
func (db *DB) Clone() *DB {
	return &DB{mem: db.mem.Snapshot(), config: db.config, overlay: db.overlay, origin: db.origin, position: db.position}
}

// Position is how far the view has folded the log.
func (v *View) Position() Position { return v.position }

// Cursor continues the log where the view ends.
func (v *View) Cursor() eventlog.Cursor {
	return eventlog.Cursor{Head: v.position.Head, Time: v.position.Time}
}

// Config is the configuration in force; an empty one before the first.
func (v *View) Config() *Config { return v.config }

// Txn folds events into a DB. It reads as a View, its own changes included. End it with Commit or Abort.
type Txn struct {
	View
	db *DB
}

// Write opens the one write transaction.
func (db *DB) Write() *Txn {
	t := &Txn{View: *db.View(), db: db}
	t.txn = db.mem.Txn(true)
	t.pending = newPending()
	t.pending.flush = t.flush
	return t
}

// Commit makes the changes visible to later Views.
func (t *Txn) Commit() {
	t.write()
	t.txn.Commit()
	t.db.config, t.db.overlay, t.db.origin, t.db.position = t.config, t.overlay, t.origin, t.position
}

// Abort drops the changes.
func (t *Txn) Abort() { t.txn.Abort() }

func (t *Txn) insert(table string, row any) {
	if err := t.txn.Insert(table, row); err != nil {
		panic(err) // a row of the wrong type: a mistake in this package
	}
}

// delete removes a row; one that is not there is no matter.
func (t *Txn) delete(table string, row any) {
	if err := t.txn.Delete(table, row); err != nil && !errors.Is(err, memdb.ErrNotFound) {
		panic(err)
	}
}

func (t *Txn) clear(tables ...string) {
	for _, table := range tables {
		if _, err := t.txn.DeleteAll(table, "id_prefix", []byte{}); err != nil {
			panic(err)
		}
	}
}

// collect is a slice of what an iterator yields, so that the table may be changed while it is walked.
func collect[T any](rows iter.Seq[T]) []T {
	var all []T
	for row := range rows {
		all = append(all, row)
	}
	return all
}
