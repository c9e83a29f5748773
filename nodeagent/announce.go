package nodeagent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"galaxy/eventlog"
	"galaxy/ipam"
	"galaxy/lease"
	"galaxy/pause"
)

// announceEvery bounds how often an announcement is renewed because of what it says.
const announceEvery = time.Second

// keepLease keeps the node's key until ctx ends, and what it says up to date. At the end the key is left to its lease:
// a restart that takes no longer is noticed by nobody.
func (a *Agent) keepLease(ctx context.Context) error {
	said, err := a.announcement()
	if err != nil {
		return err
	}
	name := lease.Name{
		Client: a.Client, Key: lease.NodesPrefix(a.Prefix) + a.Node, TTL: a.TTL, Others: a.others,
		Conflict: func(err error) {
			a.Block(leasePart, err)
			a.Log.Error("node name in use by another machine", zap.Error(err))
		},
	}
	announced, err := name.Announce(ctx, said)
	if err != nil {
		return nil // ctx has ended
	}
	a.mu.Lock()
	a.announced = announced
	a.mu.Unlock()
	a.Block(leasePart, nil)
	close(a.named)
	defer announced.Leave()
	tick := time.NewTicker(DefaultTick) // the node's addresses may change
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-tick.C:
		}
		next, err := a.announcement()
		if err != nil {
			return err
		}
		if bytes.Equal(next, said) {
			continue
		}
		if err := announced.Update(ctx, next); err != nil {
			if ctx.Err() == nil {
				a.Log.Debug("the announcement is not renewed", zap.Error(err))
				a.wake()
			}
		} else {
			said = next
		}
		_ = pause.For(ctx, announceEvery)
	}
}

// others says that another machine has the node's name.
func (a *Agent) others(value []byte) error {
	var holder ipam.Announcement
	if err := json.Unmarshal(value, &holder); err != nil {
		return nil //nolint:nilerr // what nobody understands helps nobody
	}
	if holder.Machine != a.Machine {
		return fmt.Errorf("the machine %s at %v has the name of node %s; two nodes cannot share one: rename one of "+
			"them (--hostname-override), or stop the other agent",
			holder.Machine, holder.Addresses, a.Node)
	}
	// After a reboot the key of the life before ends with its lease; that of a clone does not.
	if !sameBoot(holder.Boot, a.Boot) {
		return fmt.Errorf("another machine with the machine id of this one (%s), at %v, has the name of node %s: two "+
			"that were made from one image need ids of their own "+
			"(rm /etc/machine-id && systemd-machine-id-setup, or --machine-id) and names of their own", holder.Machine,
			holder.Addresses, a.Node)
	}
	return nil
}

// sameBoot compares two words for a boot, as far as both say something: an agent of before says nothing of its network
// namespace.
func sameBoot(x, y string) bool {
	bootX, namespaceX, _ := strings.Cut(x, ":")
	bootY, namespaceY, _ := strings.Cut(y, ":")
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return same(bootX, bootY) && same(namespaceX, namespaceY)
}

// fence ties what is written to etcd to the node's key: another machine that has the name by then stops this one.
func (a *Agent) fence() eventlog.Fence {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.announced == nil {
		return eventlog.Fence{}
	}
	return eventlog.Fence{Key: lease.NodesPrefix(a.Prefix) + a.Node, Revision: a.announced.Revision()}
}
