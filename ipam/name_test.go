package ipam

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "blue", "blå pool_1", strings.Repeat("x", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{strings.Repeat("x", MaxName+1), "a\nb", "\x1b[31mred", "a\x00", "a\xffb",
		"\u202eright to left"} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
