// Package integration proves that the rooms fit together: here the shape of the tree itself, in the folders below it
// what needs a real etcd, several processes, or a machine that fails. Nothing imports it.
package integration
