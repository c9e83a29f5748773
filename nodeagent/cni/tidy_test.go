package cni

import (
	"galaxy/nodeagent/netconf"
	"os"
	"path/filepath"
	"testing"
)

// What an agent was writing when it was killed is removed, and nothing else is.
func TestTidy(t *testing.T) {
	s := states{t.TempDir()}
	if err := s.save("whole", []Attachment{{Network: *netconf.DefaultConfig().Networks[0],
		IfName: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, ".half"), []byte(`{"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.tidy(); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 1 || left[0].Name() != "whole" {
		t.Errorf("left are %v: %v", left, err)
	}
	if err := (states{filepath.Join(s.dir, "none")}).tidy(); err != nil {
		t.Errorf("no folder yet: %v", err)
	}
}
