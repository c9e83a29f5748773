// Package dump reads lists of the kernel over netlink.
package dump

import (
	"context"
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is read that changes meanwhile; on a busy node that happens now and then.
const tries = 10

// Whole reads a list again when it changed while it was read.
func Whole[T any](ctx context.Context, list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		found, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == tries {
			return found, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
