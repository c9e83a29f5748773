package journal

import (
	"testing"
	"time"

	"galaxy/eventlog"
)

// The newest event stays, however much is trimmed: the next one names its hash, and a restart compares it with etcd.
func TestTrimKeepsTheNewest(t *testing.T) {
	j := openAs(t, filled(t, 5), "n")
	defer j.Close() //nolint:errcheck // the test is over
	head, err := j.file.Head(t.Context(), "node-n")
	if err != nil {
		t.Fatal(err)
	}
	for _, through := range []uint64{3, 100} {
		if err := j.file.trim(through); err != nil {
			t.Fatal(err)
		}
		hash, known, err := j.file.hashAt(head.Seq)
		if err != nil || !known || hash != head.Hash {
			t.Fatalf("trimmed through event %d, the newest is known: %t, %v", through, known, err)
		}
		if _, older, _ := j.file.hashAt(min(through, head.Seq-1)); older {
			t.Errorf("event %d is still there", through)
		}
	}
	cursor := eventlog.Cursor{Head: head}
	before := cursor.Head
	_, r, err := cursor.Write(time.Now(), "n", "", &eventlog.PoolDeleted{Pool: "p"})
	if err == nil {
		_, err = j.file.Append(t.Context(), "node-n", before, []eventlog.Record{r}, eventlog.Fence{})
	}
	if err != nil {
		t.Error(err)
	}
}
