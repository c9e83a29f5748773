// Package build says which release a command is.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Commit and Time are injected at link time (-X galaxy/cmd/internal/build.Commit=…); else what Go recorded stands in.
var (
	Commit string
	Time   string
)

// Version is one line for --version and the log of a process.
func Version() string {
	commit, built := Commit, Time
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && commit == "" {
				commit = s.Value
			}
			if s.Key == "vcs.time" && built == "" {
				built = s.Value
			}
		}
	}
	return fmt.Sprintf("commit %s, built %s, %s", orUnknown(commit), orUnknown(built), runtime.Version())
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
