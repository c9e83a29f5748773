// Command galaxy-sdn is the plugin that container runtimes run. It asks the agent about a plain ADD or DEL itself, as
// it starts in much less time than galaxy-cni, which can do all that galaxy-sdn does; anything else it leaves to that
// by becoming it.
package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"galaxy/plugins/sdn/short"
	"galaxy/wire/terms"
)

func main() {
	result, failure := run()
	if failure != nil {
		result = failure.JSON()
	}
	if len(result) > 0 {
		if _, err := os.Stdout.Write(result); err != nil {
			_, _ = os.Stderr.WriteString("galaxy-sdn: " + err.Error() + "\n") // there is nowhere else to report it
			os.Exit(1)
		}
	}
	if failure != nil {
		os.Exit(1)
	}
}

// run gives what is printed. What comes before the first word to the agent can be left to galaxy-cni; nothing that
// comes after, as the agent must not be asked twice.
func run() (result []byte, failure *terms.Failure) {
	call, plain := short.Of(os.Environ())
	if !plain || len(os.Args) > 1 || isOwn(call.Netns) {
		return nil, become(nil)
	}
	config, err := io.ReadAll(io.LimitReader(os.Stdin, short.MaxConfig+1))
	if err != nil {
		return nil, &terms.Failure{Code: terms.IOFailure, Msg: "error reading from stdin: " + err.Error()}
	}
	if len(config) > short.MaxConfig {
		return nil, become(config)
	}
	socket, plain := short.Socket(config)
	question, sayable := call.Question(config)
	if !plain || !sayable {
		return nil, become(config)
	}
	conn, err := dial(socket)
	if err != nil {
		return nil, become(config) // it has patience, and leaves a note of a DEL
	}
	return call.Response(ask(conn, question, call.Limit()))
}

// isOwn reports whether a path is that of the namespace of this process, or may be: no container has it, but by a
// request that galaxy-cni knows. One that is not there is nobody's.
func isOwn(netns string) bool {
	var here, there unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		return true
	}
	err := unix.Stat(netns, &there)
	return err == nil && here.Dev == there.Dev && here.Ino == there.Ino
}
