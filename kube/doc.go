// Package kube holds the Kubernetes objects as far as they matter here, in our own words: who a pod is, what it wants
// and who owns it; which addresses a node has. Objects are decoded as a stream, so that what nobody uses costs next to
// nothing.
package kube
