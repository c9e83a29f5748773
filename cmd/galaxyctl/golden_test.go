package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"galaxy/cmd/internal/cli"
)

// TestGolden runs the commands in testdata against one log and compares what they print. `go test ./cmd/galaxyctl
// -rewrite` renews it: read the diff. What differs from run to run is masked.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		b := newHarness(t)
		b.story()
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string {
			b.now.Add(1)
			code, out, errs := b.run(words(d.Input)...)
			if code != cli.OK {
				errs += fmt.Sprintf("exit %d\n", code)
			}
			return b.mask(out + errs)
		})
	})
}

// words splits a command line; single quotes keep a word together.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all[1:] // without the program's name
}

var (
	cause    = regexp.MustCompile(`rest-[A-Z2-7]{26}`)
	hash     = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	shorter  = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	revision = regexp.MustCompile(`(revision"?: )\d+`)
)

func (b *harness) mask(text string) string {
	text = strings.NewReplacer(b.etcd.Endpoint(), "<etcd>", b.rest, "<server>", b.log.Generation().ID,
		"<generation>").Replace(text)
	text = cause.ReplaceAllString(text, "rest-<random>")
	text = revision.ReplaceAllString(text, "${1}<revision>")
	return shorter.ReplaceAllString(hash.ReplaceAllString(text, "<sha256>"), "<sha256…>")
}
