// Package live is the cluster as its API server reports it: informers keep a Set of objects new, and what has to be
// said to the API server goes through here, too: bindings, events, the capacity of nodes.
package live
