package galaxy

import (
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// Preview is the state of a log that has nothing but these subnets: what a plan is made on where none are in force yet,
// and so nothing can be held.
func Preview(source string, subnets []ipam.Subnet) (*projections.View, error) {
	db := projections.New("")
	txn := db.Write()
	cursor := txn.Cursor()
	e, _, err := cursor.Write(time.Time{}, "", cause, &eventlog.SubnetsConfigured{Source: source, Subnets: subnets})
	if err == nil {
		err = txn.Fold(e, cursor.Head.Hash)
	}
	if err != nil {
		txn.Abort()
		return nil, err
	}
	txn.Commit()
	return db.View(), nil
}
