package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"galaxy/cmd/internal/cli"
)

// All that has a key in it is for its owner alone, whatever was there before, and half of a file is never left behind.
func TestCertsMake(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secrets.yaml"), []byte("of another run"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []string{"secrets.yaml"}
	for _, name := range []string{"ca", "ipam", "scheduler", "members-ca", "members"} {
		want = append(want, name+".crt", name+".key")
	}
	slices.Sort(want)
	for _, args := range [][]string{{"certs", "make", dir}, {"certs", "make", dir, "--renew"}} {
		if code, out, errs := call(t, args...); code != cli.OK {
			t.Fatalf("%q: exit %d\n%s%s", args, code, out, errs)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(f.Name(), ".crt") && info.Mode() != 0o600 {
				t.Errorf("%q leaves %s with the mode %s, want 0600", args, f.Name(), info.Mode())
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q leaves %q, want %q", args, names, want)
		}
	}
}
