package projections

import (
	"iter"

	"github.com/hashicorp/go-memdb"
)

// Pool limits how many addresses a pool may hold.
type Pool struct {
	Name        string
	Size        int
	PreAllocate bool
	Seq         uint64 // of the event that set it
}

const tablePools = "pools"

func poolsTable() *memdb.TableSchema {
	return tableOf(tablePools, unique("id", func(p *Pool) []byte { return append([]byte(p.Name), 0) }))
}

// Pool is the row of a pool with a size, or nil.
func (v *View) Pool(name string) *Pool {
	return first[Pool](v.txn, tablePools, "id", append([]byte(name), 0))
}

// Pools yields all pools by name.
func (v *View) Pools() iter.Seq[*Pool] { return under[Pool](v.txn, tablePools, "id", nil) }
