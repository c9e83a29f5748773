// Package ipam is the vocabulary that every other package speaks: owners, release policies, address ranges, subnets and
// the requests that pods make for addresses. It parses, formats and validates; it imports nothing else of this project,
// and has no clock, logger or I/O.
//
// Comments here and everywhere speak of "the contract" by its sections: that is docs/contract.md, what Galaxy of
// TKEStack, the reference, shows to the outside.
package ipam
