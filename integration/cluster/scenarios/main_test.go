// Package scenarios runs galaxy-ipam as users do, in real clusters, and looks at what the API server and the log say
// after.
package scenarios

import (
	"os"
	"testing"

	"galaxy/integration/cluster/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }
