// Package cloud notifies a cloud provider on which nodes addresses are used, where the data-centre network does not
// learn that by itself (contract section 7). What the provider has confirmed is in the log, so that whatever stops
// half-way is repaired.
package cloud
