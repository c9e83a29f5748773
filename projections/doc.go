// Package projections is the read model: what the log says, as tables in go-memdb. It folds events, answers queries by
// index, and is thrown away and rebuilt at will. It is pure: no clock, no randomness, no etcd, no Kubernetes; equal
// logs give equal digests.
//
// A DB is written through one Txn at a time and read through Views, which never change. Free addresses are not rows:
// see segment.go.
package projections
