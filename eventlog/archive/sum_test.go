package archive_test

import (
	"crypto/sha256"
	"strings"
)

// sum is the SHA-256 of lines, each with its line break.
func sum(lines []string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.Join(lines, "\n") + "\n"))
}
