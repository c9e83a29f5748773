package projections

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"galaxy/eventlog"
)

// TestScenarios plays the stories in testdata. `go test ./projections -run Scenarios -rewrite` renews them: read the
// diff.
//
//	fold     an event a line, its type and its data as the log has them; one that is refused changes nothing, and says why
//	state    the rows, as a snapshot has them
//	free     the free node subnets, and how many are used
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &harness{db: New("g")}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "fold":
				return s.fold(t, d.Input)
			case "state":
				return s.state(t)
			case "free":
				return s.free()
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
				return ""
			}
		})
	})
}

type harness struct{ db *DB }

var sceneStart = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func (s *harness) fold(t *testing.T, input string) string {
	t.Helper()
	var out strings.Builder
	for _, line := range strings.Split(input, "\n") {
		kind, data, _ := strings.Cut(line, " ")
		cursor := s.db.View().Cursor()
		seq := cursor.Head.Seq + 1
		at := sceneStart.Add(time.Duration(seq) * time.Second)
		text := fmt.Sprintf(`{"v":1,"seq":%d,"type":%q,"time":%q,"actor":"test","prev":%q,"data":%s}`,
			seq, kind, at.Format(time.RFC3339), cursor.Head.Hash, data)
		txn := s.db.Write()
		if _, err := txn.FoldRecord(eventlog.Record{Seq: seq, Bytes: []byte(text)}); err != nil {
			txn.Abort()
			fmt.Fprintln(&out, err)
			continue
		}
		txn.Commit()
		fmt.Fprintln(&out, seq)
	}
	return out.String()
}

// state also shows that a restored snapshot is the same state.
func (s *harness) state(t *testing.T) string {
	t.Helper()
	var saved bytes.Buffer
	if err := s.db.View().Save(&saved); err != nil {
		t.Fatal(err)
	}
	restored, err := Restore(bytes.NewReader(saved.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if restored.View().Digest() != s.db.View().Digest() {
		t.Error("a restored snapshot is another state")
	}
	var rows strings.Builder
	// the first has the head, whose hash nobody wants to read
	for _, line := range strings.SplitAfter(saved.String(), "\n")[1:] {
		rows.WriteString(line)
	}
	return rows.String()
}

func (s *harness) free() string {
	var out strings.Builder
	view := s.db.View()
	for i, network := range view.Overlay().Networks {
		total, used := view.NodeSubnetUsage(i)
		next, ok := view.FreeNodeSubnet(i)
		fmt.Fprintf(&out, "%s: %d of %d used", network.CIDR, used, total)
		if ok {
			fmt.Fprintf(&out, ", the next is %s", next)
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}
