package projections

import (
	"github.com/hashicorp/go-memdb"

	"galaxy/ipam"
)

// Scope counts the addresses of an app or of a pool, so that a limit is one lookup.
type Scope struct {
	Owner    ipam.Owner // app level or pool level
	Held     int        // addresses of the owner and of all below it
	Reserved int        // of them: held for exactly this owner, waiting for a pod
}

// Used is how many of the addresses are held for pods.
func (s Scope) Used() int { return s.Held - s.Reserved }

const tableScopes = "scopes"

func scopesTable() *memdb.TableSchema {
	return tableOf(tableScopes, unique("id", func(s *Scope) []byte { return ownerKey(s.Owner) }))
}

// Scope is the count of an app level or pool level owner; zero for one that holds nothing.
func (v *View) Scope(owner ipam.Owner) Scope {
	if v.pending != nil {
		if s, ok := v.pending.scopes[owner]; ok {
			return *s
		}
	}
	if s := first[Scope](v.base, tableScopes, "id", ownerKey(owner)); s != nil {
		return *s
	}
	return Scope{Owner: owner}
}

// count adds an address to the scopes that it belongs to, or with -1 takes it away.
func (t *Txn) count(owner ipam.Owner, delta int) {
	app := owner.AppLevel()
	if app.App != "" {
		t.countIn(app, owner, delta)
	}
	if owner.Pool != "" {
		t.countIn(ipam.Owner{Pool: owner.Pool}, owner, delta)
	}
}

func (t *Txn) countIn(scope, owner ipam.Owner, delta int) {
	s := ownRow(t.pending.scopes, scope, func() *Scope {
		return first[Scope](t.base, tableScopes, "id", ownerKey(scope))
	}, func(s *Scope) { s.Owner = scope })
	s.Held += delta
	if owner == scope {
		s.Reserved += delta
	}
}
