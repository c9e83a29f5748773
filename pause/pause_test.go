package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"galaxy/pause"
)

func TestFor(t *testing.T) {
	for _, c := range []struct {
		pause, ends, took time.Duration
		want              error
	}{
		{time.Minute, time.Hour, time.Minute, nil},
		{time.Hour, time.Minute, time.Minute, context.DeadlineExceeded},
		{0, time.Hour, 0, nil},
		{-time.Second, time.Hour, 0, nil},
		{time.Hour, 0, 0, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.ends)
			defer cancel()
			began := time.Now()
			if err := pause.For(ctx, c.pause); !errors.Is(err, c.want) || time.Since(began) != c.took {
				t.Errorf("%s, with %s to live: %v after %s", c.pause, c.ends, err, time.Since(began))
			}
		})
	}
}
