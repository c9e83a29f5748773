package node_test

import "testing"

// A real node takes pods.
func TestRealNode(t *testing.T) {
	l := newLab(t)
	t.Log(l.events("nodes"))
	l.verified()
}
