// Command galaxy-ipam is the scheduler extender and address allocator. See its --help.
package main

import (
	"context"

	"galaxy/cmd/internal/cli"
)

func main() {
	cli.Main(func(ctx context.Context) int { return cli.Report("galaxy-ipam", newCommand().ExecuteContext(ctx)) })
}
