// Command galaxyctl is for people: it reads and verifies the log in etcd, backs it up and restores it, and asks
// galaxy-ipam for addresses and pools.
package main

import (
	"context"
	"os"

	"galaxy/cmd/internal/cli"
)

func main() {
	cli.Main(func(ctx context.Context) int { return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr) })
}
