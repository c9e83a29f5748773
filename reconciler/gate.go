package reconciler

import (
	"context"
	"fmt"
	"sync"

	"galaxy/allocator"
)

// Gate holds back what gives out addresses until all running pods have been compared with the log, under the subnets in
// force: before that, an address that looks free may be in use, as after a switch or a restore. It is closed for each
// lead anew.
type Gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
	reason string        // why it is closed
}

// Why the gate is closed.
const (
	gateBegins  = "this lead has yet to compare the running pods with the log"
	gateSubnets = "new subnets are being put in force, and the running pods have yet to be compared with the log " +
		"under them"
)

func newGate() *Gate { return &Gate{opened: make(chan struct{}), reason: gateBegins} }

// Admit waits until a command may be decided: at once, if it gives nothing out. Its error says why the gate is closed.
func (g *Gate) Admit(ctx context.Context, command allocator.Command) error {
	if !command.Allocates() {
		return nil
	}
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		open, reason := g.State()
		if open {
			return nil
		}
		return fmt.Errorf("no address is given out yet: %s: %w", reason, ctx.Err())
	}
}

// Do has a replica decide a command as soon as the gate admits it. A replica that does not lead decides nothing, so
// that its own refusal is the response.
func (g *Gate) Do(ctx context.Context, replica Replica, cause string,
	command allocator.Command) (allocator.Result, error) {
	if replica.Leading() {
		if err := g.Admit(ctx, command); err != nil {
			return allocator.Result{}, err
		}
	}
	return replica.Do(ctx, cause, command)
}

// State reports whether the gate is open, and why not.
func (g *Gate) State() (open bool, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		return true, ""
	default:
		return false, g.reason
	}
}

// shut closes the gate, or says anew why it is closed.
func (g *Gate) shut(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reason = reason
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
}

// open lets all through.
func (g *Gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}
