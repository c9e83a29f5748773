package ipam

import (
	"fmt"
	"strings"
	"unicode"
)

// MaxName is how long a name may be, in bytes: as long as those of Kubernetes objects.
const MaxName = 253

// CheckName fails for a name, or another word of a person's, that is too long or has signs which are not printable: it would stand in
// events for ever, and on terminals.
func CheckName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("a name of %d bytes; want at most %d", len(name), MaxName)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }); i >= 0 {
		return fmt.Errorf("the name %q has a sign at byte %d that is not printable", name, i)
	}
	return nil
}
