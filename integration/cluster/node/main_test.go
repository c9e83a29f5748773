package node_test

import (
	"os"
	"testing"

	"galaxy/integration/cluster/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }
