// Package rest serves the interface for people and tools: it decodes, asks whether that is allowed, calls the allocator
// or reads a projection, and responds. It decides nothing itself.
package rest
