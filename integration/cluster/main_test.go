// Package cluster runs galaxy on a real Kubernetes control plane. Here stands what proves the cluster itself.
package cluster

import (
	"os"
	"testing"

	"galaxy/integration/cluster/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }
