package wire_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"galaxy/wire"
)

// What could not be read again is not left: the runtime would believe that its DEL is kept.
func TestLeaveReadsBack(t *testing.T) {
	n := wire.Notes{Dir: t.TempDir()}
	del := wire.Request{Env: map[string]string{"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0"},
		Config: []byte("{}")}
	large := del
	large.Config = []byte(strings.Repeat(" ", 5<<20))
	if err := n.Leave(large); err == nil {
		t.Error("a note was left that is too large to be read")
	}
	if err := n.Leave(wire.Request{}); err == nil {
		t.Error("a note was left that says nothing")
	}
	if left, err := os.ReadDir(n.Dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v: %v", left, err)
	}
	// A folder in place of a note is in nobody's way.
	if err := os.MkdirAll(filepath.Join(n.Dir, "a@eth0", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := n.Leave(del); err != nil {
		t.Error(err)
	}
	if notes, err := n.Read("a"); err != nil || len(notes) != 1 || notes[0].Damage != nil {
		t.Errorf("%+v, %v", notes, err)
	}
}

// A container's notes are its own, those of all its interfaces; one that cannot be read is an error beside the others.
func TestReadOfAContainer(t *testing.T) {
	n := wire.Notes{Dir: t.TempDir()}
	for _, of := range [][2]string{{"a", "eth0"}, {"a", "net1"}, {"ab", "eth0"}, {"b", "eth0"}} {
		if err := n.Leave(wire.Request{Env: map[string]string{"CNI_COMMAND": "DEL", "CNI_CONTAINERID": of[0],
			"CNI_IFNAME": of[1]}, Config: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(n.Dir, "a@net2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "a@net3"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	notes, _ := n.Read("a")
	var read, damaged []string
	for _, note := range notes {
		if note.Damage != nil {
			damaged = append(damaged, filepath.Base(note.File))
			continue
		}
		read = append(read, note.Request.Env["CNI_CONTAINERID"]+"@"+note.Request.Env["CNI_IFNAME"])
	}
	if !slices.Equal(read, []string{"a@eth0", "a@net1"}) || !slices.Contains(damaged, "a@net3") {
		t.Errorf("read are %v, damaged are %v", read, damaged)
	}
	if notes, err := n.Read("none"); err != nil || len(notes) > 0 {
		t.Errorf("a container without notes has %v, %v", notes, err)
	}
	if notes, err := (wire.Notes{Dir: filepath.Join(n.Dir, "none")}).Read("a"); err != nil || len(notes) > 0 {
		t.Errorf("a folder that is not there has %v, %v", notes, err)
	}
}

// A note that is read is a DEL of the container and the interface by which its file is named.
func FuzzNotes(f *testing.F) {
	f.Add("c1@eth0", []byte(`{"env":{"CNI_COMMAND":"DEL","CNI_CONTAINERID":"c1","CNI_IFNAME":"eth0"},"config":"e30="}`))
	f.Add("c1", []byte(`{"env":{"CNI_COMMAND":"DEL","CNI_CONTAINERID":"c1","CNI_IFNAME":"eth0"},"config":"e30="}`))
	f.Add("c1@", []byte(`null`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		n := wire.Notes{Dir: t.TempDir()}
		if strings.ContainsAny(name, "/\x00") || os.WriteFile(filepath.Join(n.Dir, name), text, 0o600) != nil {
			return
		}
		containers, err := n.Containers()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range containers {
			notes, err := n.Read(c)
			if err != nil || len(notes) != 1 {
				t.Fatalf("%d notes, %v", len(notes), err)
			}
			if notes[0].Damage != nil {
				continue
			}
			args, _, err := notes[0].Request.Args()
			if err != nil || notes[0].Request.Command() != "DEL" || args.ContainerID != c || name != c && name != c+"@"+
				args.IfName {
				t.Errorf("%q has %+v: %v", name, notes[0].Request, err)
			}
		}
	})
}
