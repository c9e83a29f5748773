package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// That etcd is away is said once it is missed, with the reason, and unsaid with its first response.
func TestReach(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	r := reach{now: func() time.Time { return now }, last: now}
	if r.note(nil) || r.trouble() != "" {
		t.Error("trouble at the start")
	}
	if r.note(context.DeadlineExceeded) || r.trouble() != "" {
		t.Error("one answer that is late is no trouble")
	}
	now = now.Add(reachPatient)
	if got := r.trouble(); !strings.Contains(got, "for 8s: context deadline exceeded") {
		t.Errorf("trouble: %q", got)
	}
	if !r.note(context.DeadlineExceeded) {
		t.Error("nobody is notified")
	}
	if r.note(context.DeadlineExceeded) {
		t.Error("it is reported twice")
	}
	now = now.Add(time.Minute)
	if !r.note(nil) || r.trouble() != "" {
		t.Error("a response ends it")
	}
}
