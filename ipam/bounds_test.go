package ipam

import (
	"strings"
	"testing"
)

// What is exactly as long as it may be is read.
func TestLongestAnnouncement(t *testing.T) {
	text := `{"node":"a","machine":"m","addresses":["192.0.2.1"]}`
	longest := text + strings.Repeat(" ", MaxAnnouncement-len(text))
	if _, err := ParseAnnouncement([]byte(longest)); err != nil {
		t.Error(err)
	}
	if _, err := ParseAnnouncement([]byte(longest + " ")); err == nil {
		t.Error("one byte more is read")
	}
}

// A configuration that is no JSON is refused with the byte at which it ends to be.
func TestConfigIsNoJSON(t *testing.T) {
	for text, at := range map[string]string{`[{"subnet" 1}]`: "at byte 12", `[{"subnet":`: "at byte 11", `[} `: "at byte 2"} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v, want %q", text, err, at)
		}
	}
}
