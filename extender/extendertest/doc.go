// Package extendertest is for tests of the extender's rooms: a replica on a log in memory, a cluster of objects,
// requests, certificates.
package extendertest
