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

// Info is where a command comes from. What is not known is "unknown".
type Info struct {
	Version  string // of the module
	Commit   string
	Modified bool   // the tree had changes that were not committed
	Time     string // of the commit
	Go       string
}

// Read tells where this command comes from.
func Read() Info {
	info := Info{Commit: Commit, Time: Time, Go: runtime.Version()}
	if recorded, ok := debug.ReadBuildInfo(); ok {
		info.Version = recorded.Main.Version
		for _, s := range recorded.Settings {
			switch {
			case s.Key == "vcs.revision" && info.Commit == "":
				info.Commit = s.Value
			case s.Key == "vcs.time" && info.Time == "":
				info.Time = s.Value
			case s.Key == "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	for _, field := range []*string{&info.Version, &info.Commit, &info.Time} {
		if *field == "" {
			*field = "unknown"
		}
	}
	return info
}

// Version is one line for --version and the log of a process.
func Version() string {
	info := Read()
	return fmt.Sprintf("commit %s, built %s, %s", info.Commit, info.Time, info.Go)
}
