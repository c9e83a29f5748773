package overlay

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// logged is what a test looks at of an event, as galaxyctl prints it with -o json.
type logged struct {
	Type string
	Time time.Time
	Data struct{ Address netip.Addr }
}

func eventsIn(t *testing.T, out string) (all []logged) {
	t.Helper()
	for line := range strings.Lines(out) {
		var e logged
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Type == "" || e.Time.IsZero() {
			t.Fatalf("an event in JSON: %v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// heldIn are the addresses that are held after some events.
func heldIn(t *testing.T, out string) []netip.Addr {
	t.Helper()
	held := map[netip.Addr]bool{}
	for _, e := range eventsIn(t, out) {
		switch e.Type {
		case "AddressAllocated":
			held[e.Data.Address] = true
		case "AddressReleased":
			delete(held, e.Data.Address)
		}
	}
	var all []netip.Addr
	for addr := range held {
		all = append(all, addr)
	}
	return sorted(all)
}

func sorted(all []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(all), netip.Addr.Compare)
}
