package etcdlog

import (
	"fmt"
	"strconv"
	"strings"
)

// seqDigits is enough for every uint64, so that keys sort as numbers do.
const seqDigits = 20

// keys is where everything of one log is.
type keys struct {
	generation string
	restoring  string
	heads      string // ends with a slash, as the next two
	logs       string
	snapshots  string
}

func newKeys(prefix string) keys {
	root := prefix + "/v1/"
	return keys{
		generation: root + "generation",
		restoring:  root + "restoring",
		heads:      root + "head/",
		logs:       root + "log/",
		snapshots:  root + "snapshot/",
	}
}

func (k keys) head(stream string) string { return k.heads + stream }

// events is the prefix of a stream's events.
func (k keys) events(stream string) string { return k.logs + stream + "/" }

// appendSeq adds a number with all its leading zeros.
func appendSeq(to []byte, seq uint64) []byte {
	var digits [seqDigits]byte
	for i := seqDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + seq%10)
		seq /= 10
	}
	return append(to, digits[:]...)
}

// eventKey is the key of an event; events is the prefix of its stream.
func eventKey(events string, seq uint64) string {
	key := make([]byte, 0, len(events)+seqDigits)
	return string(appendSeq(append(key, events...), seq))
}

// seqOf reads the sequence number at the end of a key whose prefix is known.
func seqOf(key []byte, prefix string) (uint64, error) {
	digits, ok := strings.CutPrefix(string(key), prefix)
	if ok && len(digits) == seqDigits {
		if seq, err := strconv.ParseUint(digits, 10, 64); err == nil && digits[0] != '+' {
			return seq, nil
		}
	}
	return 0, fmt.Errorf("key %q is not %s<%d digits>", key, prefix, seqDigits)
}
