package dump

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		broken int
		last   error
		calls  int
		want   error
	}{{0, nil, 1, nil}, {3, nil, 4, nil}, {2, other, 3, other}, {1000, nil, tries, netlink.ErrDumpInterrupted}} {
		calls := 0
		all, err := Whole(t.Context(), func() ([]int, error) {
			if calls++; calls <= c.broken {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, c.last
		})
		if !errors.Is(err, c.want) || calls != c.calls || err == nil && len(all) != 2 {
			t.Errorf("%+v: %v, %v after %d calls", c, all, err, calls)
		}
	}
}
