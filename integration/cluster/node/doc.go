// Package node runs real nodes for a test: a kubelet, a containerd and a kube-proxy in namespaces of their own for
// network, mounts, processes and host name, so that each finds the paths, routes and rules of a machine, and the
// machine's own stay as they are. All ends with the first process of a node, and that one with the test, whatever
// becomes of it.
package node
