// Command galaxy is the agent of a node: it gives pods their networks, and makes the node's routes follow the log. See
// its --help.
package main

import (
	"context"

	"galaxy/cmd/internal/cli"
)

func main() {
	cli.Main(func(ctx context.Context) int { return cli.Report("galaxy", newCommand().ExecuteContext(ctx)) })
}
