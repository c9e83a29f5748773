package eventlog_test

import (
	"errors"
	"testing"

	"galaxy/eventlog"
)

// What fits goes on from the head without holes, and is no more than the limits: as much is fine.
func TestLimits(t *testing.T) {
	limits, after := eventlog.Limits{Events: 3, Bytes: 6}, eventlog.Head{Seq: 7}
	record := func(seq uint64, text string) eventlog.Record { return eventlog.Record{Seq: seq, Bytes: []byte(text)} }
	for name, c := range map[string]struct {
		records     []eventlog.Record
		fits, large bool
	}{
		"one":           {[]eventlog.Record{record(8, "a")}, true, false},
		"as many":       {[]eventlog.Record{record(8, "aa"), record(9, "bb"), record(10, "cc")}, true, false},
		"too many":      {[]eventlog.Record{record(8, ""), record(9, ""), record(10, ""), record(11, "")}, false, true},
		"too large":     {[]eventlog.Record{record(8, "aaaa"), record(9, "bbb")}, false, true},
		"none":          {nil, false, false},
		"from the head": {[]eventlog.Record{record(7, "a")}, false, false},
		"past the next": {[]eventlog.Record{record(9, "a")}, false, false},
		"a hole":        {[]eventlog.Record{record(8, "a"), record(10, "b")}, false, false},
	} {
		err := limits.Check(after, c.records)
		if (err == nil) != c.fits || errors.Is(err, eventlog.ErrTooLarge) != c.large {
			t.Errorf("%s: %v", name, err)
		}
	}
}
