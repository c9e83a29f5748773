// Package extender speaks HTTP: the verbs of kube-scheduler's extender protocol on one port, the REST interface for people
// and tools on another. It decodes, calls the allocator or reads a projection, and answers; it decides nothing itself.
package extender
