// Package netconf says which networks there are and which of them a pod gets: the agent's configuration file, the
// network configurations of the host, and the annotation by which a pod asks for several. It decides, and runs nothing.
package netconf
