// Command galaxy-demo tells the main story on one machine, without Kubernetes: a scheduler's recorded requests get
// addresses; the process is killed and comes back with all it knew; a pod is replaced; and at last etcd is lost and
// restored from a backup. It needs galaxy-ipam and galaxyctl beside it, and cleans up after itself.
package main

import (
	"context"
	"os"
	"time"

	"galaxy/cmd/internal/cli"
)

// patience is how long the story may take.
const patience = 2 * time.Minute

func main() {
	cli.Main(func(ctx context.Context) int {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return cli.Report("galaxy-demo", run(ctx, os.Args[1:]))
	})
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return cli.Usage("%q: it takes no arguments: it tells one story", args[0])
	}
	return printStory(ctx)
}
