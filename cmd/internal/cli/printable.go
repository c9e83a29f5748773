package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable is a text with all that a terminal would obey escaped, but for line breaks and tabs: errors name what
// others have written.
func Printable(text string) string {
	obeyed := func(r rune) bool {
		return r != '\n' && r != '\t' && (!unicode.IsPrint(r) || r == unicode.ReplacementChar)
	}
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if obeyed(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}
