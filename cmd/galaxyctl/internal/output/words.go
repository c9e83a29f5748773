package output

import (
	"fmt"
	"strings"
	"time"
)

// Moment is a time as tables show it: UTC, to the millisecond.
func Moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// Decimal is a number as tables show it.
func Decimal[N int | int64 | uint64](n N) string { return fmt.Sprint(n) }

// List is all of some things in one cell of a table.
func List[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = one.String()
	}
	return strings.Join(texts, ", ")
}
