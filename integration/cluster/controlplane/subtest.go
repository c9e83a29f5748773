package controlplane

import "testing"

// In is the same cluster for a subtest: what fails there fails the subtest. Processes are still those of the test that
// has started them.
func (b *Cluster) In(t testing.TB) *Cluster {
	inner := *b
	inner.t = t
	return &inner
}
