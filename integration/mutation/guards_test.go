package main

import "testing"

// Each rule of guards.txt stands where the file says, so that a run of mutants tries it.
func TestGuardsStand(t *testing.T) {
	by, err := guards("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(by) < 7 {
		t.Errorf("guards in %d packages", len(by))
	}
}
