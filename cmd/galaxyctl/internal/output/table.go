package output

import (
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table prints rows in columns. It may be flushed again and again: columns keep their width from one part to the next,
// and only ever grow, so that a log of any length is printed as it is read.
type Table struct {
	out    io.Writer
	widths []int
	rows   [][]string
}

// NewTable begins with a line of headings.
func NewTable(out io.Writer, headings ...string) *Table {
	return &Table{out: out, widths: make([]int, len(headings)), rows: [][]string{headings}}
}

// Add puts in a row; an empty cell is shown as "-".
func (t *Table) Add(cells ...string) {
	for i, cell := range cells {
		if cells[i] = Cell(cell); cell == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// Cell is a text as it stands among others: quoted if a terminal would obey it.
func Cell(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// Flush prints the rows that were added.
func (t *Table) Flush() error {
	for _, row := range t.rows {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range t.rows {
		last := len(row) - 1
		for i, cell := range row[:last] {
			text.WriteString(cell)
			text.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+2))
		}
		text.WriteString(row[last])
		text.WriteByte('\n')
	}
	t.rows = nil
	_, err := io.WriteString(t.out, text.String())
	return err
}

// Pairs prints names with their values, one a line, and leaves out what is empty.
func Pairs(out io.Writer, namesAndValues ...string) error {
	t := &Table{out: out, widths: make([]int, 2)}
	for i := 0; i < len(namesAndValues); i += 2 {
		if namesAndValues[i+1] != "" {
			t.Add(namesAndValues[i], namesAndValues[i+1])
		}
	}
	return t.Flush()
}
