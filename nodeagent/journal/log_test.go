package journal

import (
	"fmt"
	"path/filepath"
	"testing"

	"galaxy/eventlog"
	"galaxy/eventlog/logtest"
)

// The node's file is a log as every other, but with one stream and one writer.
func TestLog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Rig {
		f, err := openFile(filepath.Join(t.TempDir(), "node.db"), eventlog.StreamIPAM)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.db.Close() })
		lives := 0
		regenerate := func(t *testing.T) {
			lives++
			if err := f.adopt(fmt.Sprint("life-", lives), nil); err != nil {
				t.Fatal(err)
			}
		}
		regenerate(t)
		return logtest.Rig{Log: f, Second: f, Lone: true, Regenerate: regenerate}
	})
}
