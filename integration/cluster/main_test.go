// Package cluster runs galaxy on a real Kubernetes control plane. Here stands what proves the bed itself.
package cluster

import (
	"os"
	"testing"

	"galaxy/integration/cluster/bed"
)

func TestMain(m *testing.M) { os.Exit(bed.Main(m)) }
