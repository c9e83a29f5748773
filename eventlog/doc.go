// Package eventlog is the contract of the append-only log: the types of events, the envelope they are stored in and its
// codec, and the Log interface that etcdlog and memlog fulfil. The log is a public format: auditors read it with their
// own tools, so names and bytes here are stable.
//
// Every event of a stream has the next sequence number and the SHA-256 of the stored bytes of the event before it. A
// Cursor walks a stream and checks both.
package eventlog
