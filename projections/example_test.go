package projections_test

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// Events are folded one after another. A view stays as it was when it was taken, and an event that contradicts the log
// before it is refused.
func ExampleTxn_Fold() {
	network, addr := netip.MustParsePrefix("10.0.70.0/24"), netip.MustParseAddr("10.0.70.2")
	subnets, err := ipam.ParseConfig([]byte(`[{"nodeSubnets":["10.0.1.0/24"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1","ips":["10.0.70.2"]}]`))
	if err != nil {
		fmt.Println(err)
	}
	db := projections.New("example")
	before := db.View()
	for _, data := range []eventlog.Data{
		&eventlog.SubnetsConfigured{Source: "example", Subnets: subnets},
		&eventlog.AddressAllocated{Address: addr, Subnet: network, Owner: ipam.Owner{Pool: "blue"}, Policy: ipam.Never},
		// a second time
		&eventlog.AddressAllocated{Address: addr, Subnet: network, Owner: ipam.Owner{Pool: "red"}, Policy: ipam.Never},
	} {
		txn := db.Write()
		cursor := txn.Cursor()
		e, _, err := cursor.Write(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), "example", "", data)
		if err == nil {
			err = txn.Fold(e, cursor.Head.Hash)
		}
		if err != nil {
			txn.Abort()
			fmt.Println("refused:", errors.Is(err, projections.ErrImpossible))
			continue
		}
		txn.Commit()
	}
	fmt.Println("before:", before.HeldCount(), before.Address(addr) != nil)
	now := db.View()
	fmt.Println("now:", now.HeldCount(), now.Address(addr).Owner, "after event", now.Position().Head.Seq)

	// Output:
	// refused: true
	// before: 0 false
	// now: 1 pool__blue_ after event 2
}
