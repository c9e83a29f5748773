// Command galaxy is the agent of a node: it gives pods their networks, and makes the node's routes follow the log. See its --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "galaxy:", err)
		os.Exit(exitCode(err))
	}
}
