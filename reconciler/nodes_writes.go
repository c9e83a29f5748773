package reconciler

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// How much a node may write to etcd: at first, and each second. A node that starts fifty containers a second writes a
// tenth of that.
const (
	writesBurst = 32 << 20 // bytes
	writesRate  = 256 << 10
)

// NodeWrites measures how much each node writes to etcd. Whoever holds a node's credentials could fill etcd with the
// keys that are the node's own, until nobody writes any more.
type NodeWrites struct {
	mu    sync.Mutex
	nodes map[string]writes
}

// writes is a bucket that leaks.
type writes struct {
	level    float64 // bytes
	at       time.Time
	reported bool
}

func (w writes) leaked(now time.Time) writes {
	w.level = max(0, w.level-writesRate*now.Sub(w.at).Seconds())
	w.at = now
	return w
}

// Note takes what a node has written, and reports whether that is news: it has begun to write more than a node does.
func (n *NodeWrites) Note(node string, bytes int, now time.Time) (news bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes == nil {
		n.nodes = map[string]writes{}
	}
	w := n.nodes[node].leaked(now)
	w.level += float64(bytes)
	switch {
	case w.level > writesBurst:
		news, w.reported = !w.reported, true
	case w.level == 0:
		w.reported = false
	}
	n.nodes[node] = w
	return news
}

// Loud are the nodes that write more than a node does, by name.
func (n *NodeWrites) Loud(now time.Time) (loud []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range slices.Sorted(maps.Keys(n.nodes)) {
		w := n.nodes[node].leaked(now)
		switch {
		case w.level > writesBurst/2 && w.reported:
			loud = append(loud, node)
		case w.level == 0: // nothing of it is remembered
			delete(n.nodes, node)
		}
	}
	return loud
}
