// Package galaxy takes over from the reference, Galaxy of TKEStack up to 1.0.8, whose only store are FloatingIP and
// Pool objects (contract sections 4.2 and 6).
package galaxy
