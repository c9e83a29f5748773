package nodeagent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// mayGive says why no more addresses are given: for so long nothing was heard of etcd that the node's subnets may be
// another's, or the disk has no more room than is needed for what is given back.
func (a *Agent) mayGive() error {
	since := a.Now().Sub(a.Local.Reached())
	if since > a.Grace {
		return fmt.Errorf("node %s gives no more addresses: etcd was not reached for %s, and after %s another node "+
			"may have its subnets; see to etcd, or to this node's way to it",
			a.Node, since.Round(time.Second), a.Grace)
	}
	if err := a.Local.Room(); err != nil {
		return fmt.Errorf("node %s gives no more addresses: %w", a.Node, err)
	}
	return nil
}

// leave is mayGive, and says, too, that another machine has the node's name: it gives them.
func (a *Agent) leave() error {
	if err := a.mayGive(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.blocked[leasePart]; err != nil {
		return fmt.Errorf("node %s gives no addresses here: %w", a.Node, err)
	}
	return nil
}

// Ready says why the node cannot take a pod; nil if it can.
func (a *Agent) Ready() error {
	switch {
	case a.Addresses.replica() == nil:
		return fmt.Errorf("node %s does not know its addresses yet: it has none in its file, and %s", a.Node,
			a.withoutEtcd())
	case len(a.Addresses.Subnets()) == 0:
		return fmt.Errorf("node %s has no subnet of the overlay yet; see galaxyctl node list", a.Node)
	}
	status := a.Routes.Status()
	switch {
	case status.MTU == 0:
		return fmt.Errorf("node %s does not know the other nodes and its links yet, so that pods would get a wrong "+
			"MTU and no routes", a.Node)
	case status.Overlap != "":
		return fmt.Errorf("node %s: %s", a.Node, status.Overlap)
	}
	return errors.Join(a.blocks(), a.mayGive())
}

// PodMTU is what the interfaces of this node's pods should have; 0 while that is not known.
func (a *Agent) PodMTU() int { return a.Routes.Status().PodMTU(a.Addresses.Subnets()) }

// withoutEtcd says why nothing is known from etcd.
func (a *Agent) withoutEtcd() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if why := a.trouble["etcd"]; why != "" {
		return why
	}
	return "etcd has not answered yet"
}

// Block remembers what is wrong with a part that pods cannot do without; nil for all is well. Until then the node takes
// no pods.
func (a *Agent) Block(part string, err error) (news bool) {
	a.mu.Lock()
	if err == nil {
		delete(a.blocked, part)
	} else {
		a.blocked[part] = err
	}
	a.mu.Unlock()
	return a.note(part, err)
}

// blocks is one of the parts that keep the node from taking pods.
func (a *Agent) blocks() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, part := range slices.Sorted(maps.Keys(a.blocked)) {
		return fmt.Errorf("node %s: %w", a.Node, a.blocked[part])
	}
	return nil
}

// NotePods remembers what the host has lost of its pods' interfaces for good; nil for nothing.
func (a *Agent) NotePods(err error) (news bool) { return a.note(podsPart, err) }

const podsPart, leasePart = "pods", "lease"

// note remembers what is wrong with a part, and announces it; news is whether that is another thing than before.
func (a *Agent) note(part string, err error) (news bool) {
	a.mu.Lock()
	before := a.trouble[part]
	delete(a.trouble, part)
	if err != nil {
		a.trouble[part] = part + ": " + err.Error()
	}
	news = before != a.trouble[part]
	a.mu.Unlock()
	if news {
		a.wake()
	}
	return news
}

func (a *Agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}
