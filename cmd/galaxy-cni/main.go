// Command galaxy-cni is all CNI plugins of galaxy in one binary: which of them it is depends on the name by which it is
// run.
package main

import (
	"context"
	"os"

	"galaxy/cmd/internal/cli"
)

func main() {
	cli.Main(func(ctx context.Context) int { return run(ctx, os.Args, os.Stdout, os.Stderr) })
}
