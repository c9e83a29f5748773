// Package crd holds the definitions of the custom resources, for programs that install them.
package crd

import "embed"

// Files are the definitions in YAML, one a file.
//
//go:embed galaxy.k8s.io_*.yaml
var Files embed.FS
