package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"galaxy/eventlog"
	"galaxy/lease"
	"galaxy/pause"
)

// eventNodeFloods is the reason of an Event on a Node.
const eventNodeFloods = "GalaxyNodeFloodsEtcd"

// nodeKeys are what keys begin with that nodes write, and what comes after the name of the node.
func nodeKeys(prefix string) map[string]string {
	root, node := prefix+"/v1/", eventlog.StreamOfNode("")
	return map[string]string{
		root + "head/" + node: "", root + "log/" + node: "/", root + "snapshot/" + node: "/",
		lease.NodesPrefix(prefix): "",
	}
}

// watchNodeWrites measures what nodes write to etcd, while this replica leads. What is missed while etcd is away is not
// made up for.
func (p *program) watchNodeWrites(ctx context.Context) error {
	var following sync.WaitGroup
	for prefix, after := range nodeKeys(p.options.etcd.Prefix) {
		following.Go(func() {
			for ctx.Err() == nil {
				p.followNodeWrites(ctx, prefix, after)
				_ = pause.For(ctx, time.Second) // the loop sees that ctx has ended
			}
		})
	}
	following.Wait()
	return nil
}

func (p *program) followNodeWrites(ctx context.Context, prefix, after string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for response := range p.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithFilterDelete()) {
		if response.Err() != nil {
			return
		}
		for _, e := range response.Events {
			node := strings.TrimPrefix(string(e.Kv.Key), prefix)
			if after != "" {
				node, _, _ = strings.Cut(node, after)
			}
			if p.writes.Note(node, len(e.Kv.Key)+len(e.Kv.Value), time.Now()) {
				p.reportWrites(node)
			}
		}
	}
}

func (p *program) reportWrites(node string) {
	message := floods(node)
	p.logger.Error("node exceeds its etcd write budget", zap.String("node", node), zap.String("repair", message))
	if p.cluster != nil {
		p.cluster.ReportNode(node, true, eventNodeFloods, message)
	}
}

// floods says what is to be done about a node.
func floods(node string) string {
	return fmt.Sprintf("node %s writes more to etcd than a node does, and could fill it until nobody writes: look at "+
		"its agent, or take its user away (galaxyctl etcd-auth revoke --nodes %s)", node, node)
}
