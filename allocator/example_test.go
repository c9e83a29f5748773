package allocator_test

import (
	"fmt"
	"net/netip"
	"time"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/projections"
)

// A decision is a function: of a view and a command it makes events, and changes nothing. The same question has the
// same response, until the events are folded; then the pod has its address, and another gets an error that none is
// left.
func ExampleDecide() {
	network := netip.MustParsePrefix("10.0.1.0/24")
	db := projections.New("example")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	env := allocator.Env{Now: now, MaxEvents: 100}

	fold := func(events ...eventlog.Data) {
		txn := db.Write()
		cursor := txn.Cursor()
		for _, data := range events {
			e, _, err := cursor.Write(now, "example", "", data)
			if err == nil {
				err = txn.Fold(e, cursor.Head.Hash)
			}
			if err != nil {
				fmt.Println(err)
			}
		}
		txn.Commit()
	}
	subnets, err := ipam.ParseConfig([]byte(`[{"nodeSubnets":["10.0.1.0/24"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1","ips":["10.0.70.2"]}]`))
	if err != nil {
		fmt.Println(err)
	}
	fold(&eventlog.SubnetsConfigured{Source: "example", Subnets: subnets})

	bind := func(pod string) allocator.Bind {
		owner := ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "shop", App: "db", Pod: pod}
		return allocator.Bind{Pod: allocator.Pod{Owner: owner, UID: "uid-" + pod}, Node: "worker-a1",
			NodeNetwork: network}
	}
	var events []eventlog.Data
	for range 2 {
		events, _, err = allocator.Decide(db.View(), bind("db-0"), env)
		fmt.Println(events[0].Type(), events[0].Summary(), err)
	}
	fmt.Println("held:", db.View().HeldCount())

	fold(events...)
	fmt.Println("held:", db.View().HeldCount())

	events, result, err := allocator.Decide(db.View(), bind("db-0"), env)
	fmt.Println("asked again:", len(events), "events,", result.Grants[0].Info().IP, err)

	_, _, err = allocator.Decide(db.View(), bind("db-1"), env)
	fmt.Println("another pod:", err)

	// Output:
	// AddressAllocated 10.0.70.2 of 10.0.70.0/24 <nil>
	// AddressAllocated 10.0.70.2 of 10.0.70.0/24 <nil>
	// held: 0
	// held: 1
	// asked again: 0 events, 10.0.70.2/24 <nil>
	// another pod: no free address for pod shop/db-1 in node network 10.0.1.0/24: 1 configured, 1 held
}
