// Package mirror shows the log to kubectl users as FloatingIP and Pool objects. It goes one way: what somebody edits or
// deletes is put back. Two things go the other way, as the contract wants them: an administrator reserves addresses
// with the label "reserved" of a FloatingIP, and sizes pools with Pool objects.
package mirror
