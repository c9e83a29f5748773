// Package overlay runs the agents of several nodes as users do, each in a network namespace of its own, and looks at
// what packets do.
package overlay
