package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The reference's plugins are installed if they lie beside the program, again and again.
func TestInstall(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "bin")
	for name, text := range map[string]string{binary: "ours", "host-local": "theirs"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(from, binary)
	for range 2 {
		if err := install(self, to, []string{"galaxy-sdn", "galaxy-veth"}); err != nil {
			t.Fatal(err)
		}
		missing, err := installBeside(self, to)
		if err != nil || !slices.Equal(missing, []string{"loopback"}) {
			t.Errorf("missing are %v: %v", missing, err)
		}
	}
	entries, err := os.ReadDir(to)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{binary, "galaxy-sdn", "galaxy-veth", "host-local"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("in the folder are %v, want %v: %v", names, want, err)
	}
	for name, want := range map[string]string{"galaxy-sdn": "ours", "host-local": "theirs"} {
		text, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(text) != want {
			t.Errorf("%s is %q: %v", name, text, err)
		}
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// What lies beside the program as galaxy-sdn is installed if it is a program, in place of the link of an earlier
// release, which stays what it was; and a link comes back in place of the program.
func TestInstallSmallProgram(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	installed := func(name string, link bool, want string) {
		t.Helper()
		if err := install(filepath.Join(from, binary), to, []string{"galaxy-sdn", "galaxy-veth"}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(text) != want || isFile(filepath.Join(to, name)) == link {
			t.Errorf("%s is %q, want %q: %v", name, text, want, err)
		}
		if text, err := os.ReadFile(filepath.Join(to, binary)); err != nil || string(text) != "full" {
			t.Errorf("%s is %q: %v", binary, text, err)
		}
	}
	small := filepath.Join(from, "galaxy-sdn")
	write(binary, "full")
	installed("galaxy-sdn", true, "full")
	write("galaxy-sdn", "small")
	write("galaxy-veth", "not ours")
	installed("galaxy-sdn", false, "small")
	installed("galaxy-veth", true, "full")
	if err := os.Remove(small); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, small); err != nil {
		t.Fatal(err)
	}
	installed("galaxy-sdn", true, "full")
	if entries, err := os.ReadDir(to); err != nil || len(entries) != 3 {
		t.Errorf("in the folder are %v: %v", entries, err)
	}
}
