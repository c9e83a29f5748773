// Package cni answers the container runtime: it decides which networks a pod gets, runs the plugins of each, remembers
// what they made, and undoes it. It asks for pods, addresses and the agent's health through interfaces, and knows no
// log.
package cni
