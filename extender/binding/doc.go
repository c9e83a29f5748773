// Package binding is the saga of a bind, from the claim that filter makes to the pod on its node: an address in the
// log, a cloud provider where there is one, Kubernetes; and, when Kubernetes says no for good, what puts the log right
// again. It knows no HTTP.
package binding
