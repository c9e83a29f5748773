// Package api holds what the REST interface is sent and what it responds, as JSON. Servers and clients of it share
// these types, which know nothing of either.
package api
