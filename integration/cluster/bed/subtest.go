package bed

import "testing"

// In is the same cluster for a subtest: what fails there fails the subtest. Processes are still those of the test that has
// started them.
func (b *Bed) In(t testing.TB) *Bed {
	inner := *b
	inner.t = t
	return &inner
}
