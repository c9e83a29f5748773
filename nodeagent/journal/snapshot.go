package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"galaxy/eventlog"
)

// encodeSnapshot makes the stored form of a snapshot: a line with its head, and what write writes.
func encodeSnapshot(at eventlog.Head, write func(io.Writer) error) ([]byte, error) {
	line, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(append(line, '\n'))
	if err := write(out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// decodeSnapshot reads it.
func decodeSnapshot(text []byte) (head eventlog.Head, content io.ReadCloser, err error) {
	line, rest, ok := bytes.Cut(text, []byte{'\n'})
	if !ok {
		return head, nil, fmt.Errorf("%w: a snapshot without its first line", eventlog.ErrCorrupt)
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return head, nil, fmt.Errorf("%w: the first line of a snapshot: %w", eventlog.ErrCorrupt, err)
	}
	return head, io.NopCloser(bytes.NewReader(rest)), nil
}
