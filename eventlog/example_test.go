package eventlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"galaxy/eventlog"
	"galaxy/ipam"
)

// A Cursor numbers and links the events that are written, and checks those that are read: an edit of what is stored
// shows in the event after it.
func ExampleCursor() {
	addr, owner := netip.MustParseAddr("10.0.0.2"),
		ipam.Owner{Kind: "statefulset", Namespace: "shop", App: "db", Pod: "db-0"}
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

	var writer eventlog.Cursor // before the first event
	_, allocated, err := writer.Write(noon, "ipam-0", "uid-1", &eventlog.AddressAllocated{
		Address: addr, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Owner: owner, Node: "worker-a1",
	})
	if err != nil {
		fmt.Println(err)
	}
	// After names the event before this one about the same address.
	_, released, err := writer.Write(noon.Add(time.Minute), "ipam-0", "uid-1",
		&eventlog.AddressReleased{Address: addr, Owner: owner, After: 1})
	if err != nil {
		fmt.Println(err)
	}

	var reader eventlog.Cursor
	for _, record := range []eventlog.Record{allocated, released} {
		e, err := reader.Read(record)
		fmt.Println(e.Seq, e.Data.Type(), e.Data.Subject().Owner, err)
	}
	fmt.Println("the reader is where the writer is:", reader.Head == writer.Head)

	// Somebody moves the pod to another node, in what is stored.
	allocated.Bytes = bytes.Replace(allocated.Bytes, []byte("worker-a1"), []byte("worker-b7"), 1)
	reader = eventlog.Cursor{}
	_, err = reader.Read(allocated)
	fmt.Println("the event itself can be read:", err == nil)
	_, err = reader.Read(released)
	fmt.Println("the one after it is refused:", errors.Is(err, eventlog.ErrCorrupt))

	// Output:
	// 1 AddressAllocated sts_shop_db_db-0 <nil>
	// 2 AddressReleased sts_shop_db_db-0 <nil>
	// the reader is where the writer is: true
	// the event itself can be read: true
	// the one after it is refused: true
}
