package mirror

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// An object waits while pods are bound, but not for ever, and not beyond the end of the program.
func TestGiveWay(t *testing.T) {
	for name, c := range map[string]struct {
		busy, cancel, want time.Duration
	}{
		"idle":            {0, time.Hour, 0},
		"busy for a time": {time.Second, time.Hour, time.Second},
		"busy for ever":   {time.Hour, time.Hour, longestWait},
		"the end":         {time.Hour, 510 * time.Millisecond, 510 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.cancel)
				defer cancel()
				start := time.Now()
				m := &Mirror{Config: Config{Busy: func() bool { return time.Since(start) < c.busy }}}
				m.giveWay(ctx)
				if took := time.Since(start); took != c.want {
					t.Errorf("it waited for %s, want %s", took, c.want)
				}
			})
		})
	}
}
