package node_test

import (
	"os"
	"testing"

	"galaxy/integration/cluster/bed"
)

func TestMain(m *testing.M) { os.Exit(bed.Main(m)) }
