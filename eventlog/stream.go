package eventlog

import (
	"fmt"
	"regexp"
	"strings"
)

var streamPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// maxStreamName leaves room for "node-" before the name of a node, which has at most 253 bytes.
const maxStreamName = 260

// CheckStream fails for what is no name of a stream: a name becomes a part of keys and of files.
func CheckStream(stream string) error {
	if len(stream) > maxStreamName || !streamPattern.MatchString(stream) {
		return fmt.Errorf("stream %q: want at most %d of lower-case letters, digits, '.' and '-', and a letter or "+
			"digit at both ends", strings.ToValidUTF8(stream, "?"), maxStreamName)
	}
	return nil
}
