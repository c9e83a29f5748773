// Package runtime says what runs on a node: it asks the container runtime, over the CRI, which sandboxes there are, and
// the kernel in which network namespaces processes live. It only reads.
package runtime

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// askFor bounds one question: a runtime that starts thousands of containers may be slow.
const askFor = 30 * time.Second

// reachAgain bounds how long a runtime that is back may go unnoticed.
const reachAgain = 5 * time.Second

// maxResponse is what the kubelet takes, too; gRPC's own bound is reached with some thousand containers.
const maxResponse = 16 << 20

// Runtime is the container runtime behind a socket.
type Runtime struct {
	conn *grpc.ClientConn
	cri  cri.RuntimeServiceClient
}

// Open makes a client of a socket, given as a path or as unix://path. It connects with the first question, and again
// after the runtime was away.
func Open(socket string) (*Runtime, error) {
	path, found := strings.CutPrefix(socket, "unix:")
	if found {
		path = strings.TrimPrefix(path, "//")
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("socket %q of the container runtime: want a path such as "+
			"/run/containerd/containerd.sock, or unix:// and a path", socket)
	}
	retry := backoff.DefaultConfig
	retry.MaxDelay = reachAgain
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)))
	if err != nil {
		return nil, fmt.Errorf("socket %q of the container runtime: %w", socket, err)
	}
	return &Runtime{conn: conn, cri: cri.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection.
func (r *Runtime) Close() error { return r.conn.Close() }

// Sandboxes are all that the runtime has, by id: true for those that may still use their networks. A sandbox has ended
// when it is not ready and none of its containers waits or runs (contract section 11). A response without an error is
// whole.
func (r *Runtime) Sandboxes(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	sandboxes, err := r.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the container runtime for its sandboxes: %w", err)
	}
	alive, doubtful := map[string]bool{}, false
	for _, s := range sandboxes.GetItems() {
		ready := s.GetState() == cri.PodSandboxState_SANDBOX_READY
		alive[s.GetId()] = ready
		doubtful = doubtful || !ready
	}
	if !doubtful {
		return alive, nil
	}
	containers, err := r.cri.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the container runtime for its containers: %w", err)
	}
	for _, c := range containers.GetContainers() {
		if c.GetState() != cri.ContainerState_CONTAINER_EXITED {
			alive[c.GetPodSandboxId()] = true // also one whose state the runtime does not know
		}
	}
	return alive, nil
}
