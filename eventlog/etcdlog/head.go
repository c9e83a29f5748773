package etcdlog

import (
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"

	"galaxy/eventlog"
)

// formatHead is the value of a stream's head key. Appends compare it byte by byte, so a head has this one spelling.
func formatHead(head eventlog.Head) string {
	value := make([]byte, 0, 192)
	value = append(value, `{"seq":`...)
	value = strconv.AppendUint(value, head.Seq, 10)
	value = append(value, `,"hash":"`...)
	value = append(value, head.Hash.String()...)
	value = append(value, `","generation":"`...)
	value = append(value, head.Generation...) // ours is hex, and parseHead refuses what would need quoting
	value = append(value, `"}`...)
	return string(value)
}

func parseHead(value []byte) (eventlog.Head, error) {
	var head eventlog.Head
	if err := json.Unmarshal(value, &head, json.RejectUnknownMembers(true)); err != nil {
		return eventlog.Head{}, fmt.Errorf("%q: %w", value, err)
	}
	if head.Seq == 0 || head.Hash.IsZero() || head.Generation == "" {
		return eventlog.Head{}, fmt.Errorf("%q: no sequence number, hash or generation", value)
	}
	if formatHead(head) != string(value) {
		return eventlog.Head{}, fmt.Errorf("%q: not in the form in which heads are written, so it was edited", value)
	}
	return head, nil
}
