// Package allocator decides who gets which address, and writes the decisions to the log.
//
// Decide and Filter are pure: the same view, request and time give the same response. A Replica is the loop around
// them: it follows the log, and while it leads it decides commands in batches, appends their events in one transaction,
// and answers the callers only when they are durable.
package allocator
