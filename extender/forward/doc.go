// Package forward passes on to the leader what only the leader may answer. It knows no path and no format: who serves a
// request says how it gets there, as a Route.
package forward
