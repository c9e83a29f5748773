package projections

import (
	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Share counts the addresses of an app or of a pool, so that a limit is one lookup.
type Share struct {
	Owner    ipam.Owner // app level or pool level
	Held     int        // addresses of the owner and of all below it
	Reserved int        // of them: held for exactly this owner, waiting for a pod
}

// Used is how many of the addresses are held for pods.
func (s Share) Used() int { return s.Held - s.Reserved }

const tableShares = "shares"

func sharesTable() *memdb.TableSchema {
	return tableOf(tableShares, unique("id", func(s *Share) []byte { return ownerKey(s.Owner) }))
}

// Share is the count of an app level or pool level owner; zero for one that holds nothing.
func (v *View) Share(owner ipam.Owner) Share {
	if v.pending != nil {
		if s, ok := v.pending.shares[owner]; ok {
			return *s
		}
	}
	if s := first[Share](v.base, tableShares, "id", ownerKey(owner)); s != nil {
		return *s
	}
	return Share{Owner: owner}
}

// count adds an address to the shares that it belongs to, or with -1 takes it away.
func (t *Txn) count(owner ipam.Owner, delta int) {
	app := owner.AppLevel()
	if app.App != "" {
		t.countIn(app, owner, delta)
	}
	if owner.Pool != "" {
		t.countIn(ipam.Owner{Pool: owner.Pool}, owner, delta)
	}
}

func (t *Txn) countIn(share, owner ipam.Owner, delta int) {
	s := ownRow(t.pending.shares, share, func() *Share {
		return first[Share](t.base, tableShares, "id", ownerKey(share))
	}, func(s *Share) { s.Owner = share })
	s.Held += delta
	if owner == share {
		s.Reserved += delta
	}
}
