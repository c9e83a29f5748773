package plugins

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// Codes of our own; the CNI specification leaves those from 100 on to plugins.
const (
	// ErrExists is for an ADD of an interface that is there already.
	ErrExists uint = 100
	// ErrChanged is for a CHECK that found something else than ADD made.
	ErrChanged uint = 101
	// ErrKernel is for what the kernel refused.
	ErrKernel uint = 102
	// ErrResult is for the ADD of another plugin that has ended well and whose result cannot be used; what it has made
	// is there.
	ErrResult uint = 103
)

// Errorf is an error with a code of the CNI specification.
func Errorf(code uint, format string, values ...any) *types.Error {
	return types.NewError(code, fmt.Errorf(format, values...).Error(), "")
}

// In says where an error happened and keeps its code, or gives it one if it has none.
func In(where string, code uint, err error) *types.Error {
	var known *types.Error
	if errors.As(err, &known) {
		return types.NewError(known.Code, where+": "+known.Msg, known.Details)
	}
	return types.NewError(code, where+": "+err.Error(), "")
}

// Unreadable reports whether a plugin could not do its work as it cannot read its configuration, or is not there.
func Unreadable(err error) bool {
	var known *types.Error
	return errors.As(err, &known) && (known.Code == types.ErrDecodingFailure ||
		known.Code == types.ErrInvalidNetworkConfig)
}

// Undone adds to the reason of a failure what could not be taken back after it.
func Undone(reason error, left ...error) error {
	err := errors.Join(left...)
	if err == nil {
		return reason
	}
	known := In("not all could be undone", types.ErrInternal, reason)
	known.Details = strings.TrimPrefix(known.Details+"; "+err.Error(), "; ")
	return known
}
