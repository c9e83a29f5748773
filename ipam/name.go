package ipam

import (
	"fmt"
	"strings"
	"unicode"
)

// MaxName is how long a name may be, in bytes: as long as those of Kubernetes objects.
const MaxName = 253

// MaxReason is how long the words may be with which a person says why, in bytes.
const MaxReason = 1024

// CheckName fails for a name that is too long, has characters which are not printable, or is a folder's: it would stand
// in events for ever, and on terminals.
func CheckName(name string) error {
	if name == "." || name == ".." {
		return fmt.Errorf("the name %q is a folder's: no path and no object can have it", name)
	}
	return checkText("name", name, MaxName)
}

// CheckUID fails for the uid of a pod that is too long, or has characters which are not printable.
func CheckUID(uid string) error { return checkText("uid", uid, MaxName) }

// CheckReason fails for a reason that is too long, or has characters which are not printable.
func CheckReason(reason string) error { return checkText("reason", reason, MaxReason) }

func checkText(what, text string, most int) error {
	if len(text) > most {
		return fmt.Errorf("a %s of %d bytes; want at most %d", what, len(text), most)
	}
	if i := strings.IndexFunc(text, func(r rune) bool {
		return !unicode.IsPrint(r) ||
			r == unicode.ReplacementChar
	}); i >= 0 {
		return fmt.Errorf("the %s %q has a character at byte %d that is not printable", what, text, i)
	}
	return nil
}
