// Package extender is what its rooms share, the scheduler's verbs and REST: what they ask of the allocator and of the
// cluster.
package extender
