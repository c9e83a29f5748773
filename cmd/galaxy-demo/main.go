// Command galaxy-demo tells the main story on one machine, without Kubernetes: a scheduler's recorded requests get
// addresses; the process is killed and comes back with all it knew; a pod is replaced; and at last etcd is lost and
// restored from a backup. It needs galaxy-ipam and galaxyctl beside it, and cleans up after itself.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	err := tell(ctx)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "galaxy-demo:", err)
		os.Exit(1)
	}
}
