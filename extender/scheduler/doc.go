// Package scheduler serves the verbs of kube-scheduler's extender protocol: it decodes, calls the allocator or reads a
// projection, and responds. It decides nothing itself.
package scheduler
