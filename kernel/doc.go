// Package kernel is what a node programs into the Linux kernel so that its pods reach the pods of other nodes: routes,
// tunnels, settings and masquerading.
//
// It has two halves. Want and Diff are pure: nodes and links go in, the wanted State and the Changes that lead to it
// come out. Kernel is the shell: it reads the State, applies Changes and says when something has changed.
//
// What is ours carries a mark from the first moment, so that nothing of anybody else is touched: routes have our own
// protocol number, tunnels have names that begin with TunnelPrefix, and masquerading has a table of its own.
package kernel
