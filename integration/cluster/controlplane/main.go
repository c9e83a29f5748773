package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"galaxy/integration/cluster/binaries"
)

// built is what Main has prepared for the tests of this process.
var built struct {
	called  bool
	cluster string                    // directory with the programs of the cluster
	err     error                     // why there is none
	scratch string                    // directory for this process, removed at its end
	galaxy  [2]func() (string, error) // builds the programs of each of galaxyPrograms
}

// galaxyPrograms are the programs of galaxy, those together that are used together: to link them takes seconds.
var galaxyPrograms = [2][]string{{"galaxy-ipam", "galaxyctl"},
	{"galaxy", "galaxy-cni", "galaxy-sdn", "host-local", "loopback"}}

// Main is for TestMain: it prepares the programs, runs the tests, and gives the exit code. When the programs of the
// cluster cannot be had, the tests that need them are skipped, which is said on standard error; with CI in the
// environment they fail.
func Main(m *testing.M) int {
	built.called = true
	ctx := context.Background()
	var err error
	if built.scratch, err = os.MkdirTemp("", "galaxy-cluster-"); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(built.scratch) }() // a temporary directory that stays is no failure of the tests
	for i, names := range galaxyPrograms {
		built.galaxy[i] = sync.OnceValues(func() (string, error) {
			dir, err := os.MkdirTemp(built.scratch, "galaxy-")
			if err != nil {
				return "", err
			}
			return dir, binaries.Galaxy(ctx, dir, names...)
		})
	}
	if built.cluster, built.err = binaries.Ensure(ctx, os.Stderr); built.err != nil {
		fmt.Fprintf(os.Stderr, "cluster: NO TEST RUNS ON A CLUSTER, since its programs cannot be built here: %v\n",
			built.err)
	}
	return m.Run()
}

// needCluster ends a test that cannot have a cluster.
func needCluster(t testing.TB) {
	t.Helper()
	switch {
	case !built.called:
		t.Fatal("there are no programs: TestMain of this package must call controlplane.Main")
	case built.err != nil && os.Getenv("CI") != "":
		t.Fatalf("the programs of the cluster cannot be built: %v", built.err)
	case built.err != nil:
		t.Skipf("NOT TESTED: the programs of the cluster cannot be built here: %v", built.err)
	}
}

// Program is the path of a program of the cluster, as binaries has them.
func Program(name string) string { return filepath.Join(built.cluster, name) }

// Galaxy is the path of a program of galaxy, built from this tree.
func Galaxy(t testing.TB, name string) string { return galaxy(t, name) }

// galaxy is the path of a program of galaxy, built from this tree.
func galaxy(t testing.TB, name string) string {
	t.Helper()
	for i, names := range galaxyPrograms {
		if !slices.Contains(names, name) {
			continue
		}
		dir, err := built.galaxy[i]()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	t.Fatalf("there is no program %s", name)
	return ""
}
