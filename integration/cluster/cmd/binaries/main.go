// Command binaries builds the programs of the test cluster, so that tests find them there, and prints where they are.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"galaxy/integration/cluster/binaries"
)

func main() {
	galaxy := flag.String("galaxy", "", "also build galaxy-ipam and galaxyctl, into this directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *galaxy)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "binaries:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, galaxy string) error {
	dir, err := binaries.Ensure(ctx, os.Stderr)
	if err != nil {
		return err
	}
	if galaxy != "" {
		if err := binaries.Galaxy(ctx, galaxy, "galaxy-ipam", "galaxyctl"); err != nil {
			return err
		}
	}
	_, err = fmt.Println(dir)
	return err
}
