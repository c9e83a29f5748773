// Package rpc is the protocol of cloud providers (contract section 7), generated from ipprovider.proto by make
// generate-proto.
package rpc
