package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"galaxy/cmd/internal/cli"
)

// A configuration that changes is in force for the next pod; a bad one is logged once, and changes nothing.
func TestNetworksAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "galaxy.json")
	at := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second) // a file system may keep whole seconds
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	conf := func(name string) string {
		return `{"NetworkConf":[{"name":"` + name + `","type":"galaxy-veth"}],"DefaultNetworks":["` + name + `"]}`
	}
	write(conf("first"))
	core, logged := observer.New(zap.ErrorLevel)
	n, err := openNetworks(file, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	inForce := func(want string) {
		t.Helper()
		if got := strings.Join(n.newest().DefaultNetworks, ","); got != want {
			t.Errorf("in force is %q, want %q", got, want)
		}
	}
	inForce("first")
	write(conf("second"))
	inForce("second")
	write(`{"NetworkConf":[{"name":"third"`)
	inForce("second")
	inForce("second")
	if warned := logged.FilterMessageSnippet("network configuration invalid").Len(); warned != 1 {
		t.Errorf("the bad file was logged %d times, want once", warned)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	inForce("second")
	write(conf("fourth"))
	inForce("fourth")
}

// The file that a flag names must be there, and good; the default one may be missing.
func TestFirstNetworks(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.json")
	if _, err := openNetworks(missing, zap.NewNop()); err == nil ||
		!strings.Contains(err.Error(), "--json-config-path "+missing) || cli.ExitCode(err) != 2 {
		t.Errorf("a missing file: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"NetworkConf":[{"name":"x"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openNetworks(bad, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "type") {
		t.Errorf("a network without a type: %v", err)
	}
}
