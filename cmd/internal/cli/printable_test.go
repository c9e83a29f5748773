package cli_test

import (
	"testing"

	"galaxy/cmd/internal/cli"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"a plain text\n\twith lines": "a plain text\n\twith lines",
		"na\u00efve 日本":              "na\u00efve 日本",
		"\x1b[2J\a\r":                `\x1b[2J\a\r`,
		"\u009b31m\u202e":            `\u009b31m\u202e`,
		"\xff":                       `\ufffd`,
	} {
		if got := cli.Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
