package projections

import (
	"encoding/binary"
	"net/netip"

	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// keyOf is a memdb index: the key of a row, or nil for a row that the index leaves out. Queries hand over key bytes.
type keyOf[T any] func(row *T) []byte

// FromObject is memdb's way to ask for the key of a row.
func (of keyOf[T]) FromObject(row any) (bool, []byte, error) {
	key := of(row.(*T))
	return key != nil, key, nil
}

// FromArgs is memdb's way to ask for the key of a query.
func (of keyOf[T]) FromArgs(args ...any) ([]byte, error) { return args[0].([]byte), nil }

// PrefixFromArgs is memdb's way to ask for the prefix of a query.
func (of keyOf[T]) PrefixFromArgs(args ...any) ([]byte, error) { return args[0].([]byte), nil }

func unique[T any](name string, of keyOf[T]) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, Indexer: of}
}

// partial is an index over only those rows that have a key.
func partial[T any](name string, of keyOf[T]) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: true, Indexer: of}
}

func tableOf(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
	table := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
	for _, index := range indexes {
		table.Indexes[index.Name] = index
	}
	return table
}

// first is the row with exactly this key, or nil.
func first[T any](txn *memdb.Txn, table, index string, key []byte) *T {
	row, err := txn.First(table, index, key)
	return must[T](row, err)
}

// firstUnder is the row with the lowest key that starts with prefix, or nil.
func firstUnder[T any](txn *memdb.Txn, table, index string, prefix []byte) *T {
	row, err := txn.First(table, index+"_prefix", prefix)
	return must[T](row, err)
}

// under yields the rows whose key starts with prefix, in key order.
func under[T any](txn *memdb.Txn, table, index string, prefix []byte) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		rows, err := txn.Get(table, index+"_prefix", prefix)
		walk(rows, err, yield)
	}
}

// from yields the rows whose key is at or above key, in key order.
func from[T any](txn *memdb.Txn, table, index string, key []byte) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		rows, err := txn.LowerBound(table, index, key)
		walk(rows, err, yield)
	}
}

func walk[T any](rows memdb.ResultIterator, err error, yield func(*T) bool) {
	if err != nil {
		panic(err)
	}
	for row := rows.Next(); row != nil; row = rows.Next() {
		if !yield(row.(*T)) {
			return
		}
	}
}

// must turns memdb's answer into a typed row. memdb fails only when a table or index does not exist or a row is of the
// wrong type: a mistake in this package, found by its first test.
func must[T any](row any, err error) *T {
	if err != nil {
		panic(err)
	}
	if row == nil {
		return nil
	}
	return row.(*T)
}

// addrKey orders addresses by number, IPv4 (as ::ffff:a.b.c.d) and IPv6 in one space.
func addrKey(addr netip.Addr) []byte {
	b := addr.As16()
	return b[:]
}

// subnetKey stands before the keys of what belongs to one subnet.
func subnetKey(subnet int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(subnet)) }

func subnetAddrKey(subnet int, addr netip.Addr) []byte {
	b := addr.As16()
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 20), uint32(subnet)), b[:]...)
}

// ownerKey writes the fields of an owner so that all owners of a pool, and all pods of an app, share a prefix.
func ownerKey(o ipam.Owner) []byte {
	return appendOwner(make([]byte, 0, len(o.Pool)+len(o.Kind)+len(o.Namespace)+len(o.App)+len(o.Pod)+5), o, 5)
}

// ownerPrefix is the shared prefix at the level of the owner: of a pool, of an app, or of one pod.
func ownerPrefix(o ipam.Owner) []byte {
	switch {
	case o.Pod != "":
		return appendOwner(nil, o, 5)
	case o.App != "":
		return appendOwner(nil, o, 4)
	default:
		return appendOwner(nil, o, 1)
	}
}

func appendOwner(key []byte, o ipam.Owner, fields int) []byte {
	all := [...]string{o.Pool, o.Kind, o.Namespace, o.App, o.Pod}
	for _, field := range all[:fields] {
		key = append(key, field...)
		key = append(key, 0)
	}
	return key
}
