// Package pause waits. It is our own, as backoff waits only between the attempts that it makes itself, and the one of
// Kubernetes would bring Kubernetes into rooms that know nothing of it.
package pause

import (
	"context"
	"time"
)

// For waits, or fails with the error of ctx when that ends first.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
