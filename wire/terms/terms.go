// Package terms is what the two sides of package wire have agreed on, with nothing in it that takes long to start:
// galaxy-sdn is started for every pod, and net and encoding/json would take most of its time.
package terms

// Socket is where the agent listens.
const Socket = "/var/run/galaxy/galaxy.sock"

// Path is what is asked.
const Path = "/cni"

// MaxResponse bounds what is read of a response. A result is some kilobytes.
const MaxResponse = 16 << 20

// What a response's status means: done, a question that can not be read, and else a failure of any kind.
const (
	StatusOK         = 200
	StatusBadRequest = 400
)
