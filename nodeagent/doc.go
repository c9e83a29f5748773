// Package nodeagent is the agent of a node. It keeps the node's lease, follows the stream nodes and makes the kernel's
// routes and tunnels follow it; it gives addresses of the node's subnets to containers, as events of the node's own
// stream; and it answers the container runtime on a socket.
//
//	lease ── announce ──▶ galaxy-ipam's leader ──▶ stream nodes ── follow ──▶ want ── diff with the kernel ──▶ apply
//	runtime ── galaxy-sdn ──▶ socket ──▶ plugins ──▶ addresses ──▶ file, fsync ── copied in order ──▶ stream node-<name>
package nodeagent
