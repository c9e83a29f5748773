package allocator

import (
	"net/netip"
	"strings"
	"testing"
)

// Who is refused an address that a pod shows is told by what it is known.
func TestOccupiedSaysByWhat(t *testing.T) {
	for source, by := range map[string]Occupant{"the status of pod ns/a": {Pod: "ns/a", ByKubelet: true},
		"the annotation of pod ns/a": {Pod: "ns/a"}} {
		err := &OccupiedError{Address: netip.MustParseAddr("10.0.0.2"), By: by}
		if !strings.Contains(err.Error(), source) {
			t.Errorf("%v, want %q in it", err, source)
		}
	}
}
