// Package vm runs compiled tests of this module in a virtual machine with Debian's kernel, for what the kernel of the
// machine at hand may lack: tunnels, VLANs and kinds of links.
package vm
