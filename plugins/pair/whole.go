package pair

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// wholeTries is how often a list is read that changes meanwhile; on a busy node that happens now and then.
const wholeTries = 10

// Whole reads a list of the kernel until it did not change during the reading.
func Whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range wholeTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, err
}
