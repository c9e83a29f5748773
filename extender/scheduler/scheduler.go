package scheduler

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"galaxy/extender"
	"galaxy/extender/binding"
	"galaxy/extender/forward"
	"galaxy/extender/httpserver"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/projections"
)

// Config is what the scheduler's port needs. Only Replica and Log are required.
type Config struct {
	Replica extender.Replica
	Cluster func() extender.Cluster // the newest cluster; nil when there is none
	Binder  binding.Binder          // nil: galaxy-ipam only allocates, and something else binds
	Sign    binding.Signer          // nil: nothing is signed
	// Lookup asks the cluster itself for a pod that is in no list yet; nil when it is not there. May be absent.
	Lookup  func(ctx context.Context, namespace, name string) (*kube.Pod, error)
	Forward *forward.Forwarder // nil: a replica that does not lead refuses what has to be decided
	Metrics Observer           // nil: nobody wants to know
	Log     *zap.Logger
	MaxBody int64         // of a request; DefaultMaxBody if 0
	Timeout time.Duration // for a decision; DefaultTimeout if 0
}

// Defaults of Config. A scheduler sends up to 4 KB a node, and gives up after 5 s by default.
const (
	DefaultMaxBody = httpserver.LargestBody
	DefaultTimeout = 5 * time.Second
)

// Observer counts each verb that was served, and how long that took.
type Observer interface {
	Scheduled(verb string, took time.Duration)
}

// nopObserver is an Observer that counts nothing.
type nopObserver struct{}

func (nopObserver) Scheduled(string, time.Duration) {}

// How many pods and whole nodes that filter has seen are remembered for bind, which gets names only.
const (
	rememberPods  = 1 << 13 // of at most kube.MaxArgs each, beside names
	rememberNodes = 1 << 14
)

// Scheduler answers kube-scheduler.
type Scheduler struct {
	Config
	saga      *binding.Saga
	seen      *lru.Cache[podName, *kube.Pod]
	seenNodes *lru.Cache[string, *kube.Node]
	networks  atomic.Pointer[nodeNetworks]
}

// Binding reports whether bindings are on their way to the cluster.
func (s *Scheduler) Binding() bool { return s.saga.Binding() }

type podName struct{ namespace, name string }

// New makes a Scheduler.
func New(config Config) *Scheduler {
	if config.MaxBody == 0 {
		config.MaxBody = DefaultMaxBody
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Metrics == nil {
		config.Metrics = nopObserver{}
	}
	config.Replica = config.Forward.Watched(config.Replica)
	return &Scheduler{
		Config:    config,
		saga:      &binding.Saga{Replica: config.Replica, Binder: config.Binder, Sign: config.Sign},
		seen:      newCache[podName, *kube.Pod](rememberPods),
		seenNodes: newCache[string, *kube.Node](rememberNodes),
	}
}

func newCache[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // the size is not positive
	}
	return cache
}

// remember keeps what filter was sent for bind and preempt, as far as the cluster does not know it by itself: so
// nothing is kept for pods longer than until the next question about them.
func (s *Scheduler) remember(a *args, cluster extender.Cluster) {
	name := podName{a.pod.Namespace, a.pod.Name}
	if known := cluster.Pod(name.namespace, name.name); known != nil && known.UID == a.pod.UID {
		s.seen.Remove(name)
	} else {
		s.seen.Add(name, a.pod)
	}
	if !a.whole {
		return
	}
	for i := range a.nodes {
		s.seenNodes.Add(a.nodes[i].name, a.nodes[i].node)
	}
}

// node is a node as the cluster knows it, else as filter saw it; nil if neither does.
func (s *Scheduler) node(cluster extender.Cluster, name string) *kube.Node {
	if node := cluster.Node(name); node != nil {
		return node
	}
	node, _ := s.seenNodes.Get(name)
	return node
}

// Handler serves the verbs and the health checks.
func (s *Scheduler) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/v1/filter":     s.serveFilter,
		"/v1/prioritize": s.servePrioritize,
		"/v1/priority":   s.servePrioritize, // the contract's name; the documentation of TKEStack uses the other
		"/v1/bind":       s.serveBind,
		"/v1/preempt":    s.servePreempt,
	} {
		local := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				httpserver.WriteRefusal(w, err)
			}
		})
		handler := s.forwarded(path, local)
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
			defer cancel()
			handler.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	httpserver.AddHealth(mux, s.Replica)
	return httpserver.Recovered(s.Log, httpserver.Guarded(httpserver.WriteRefusal, mux))
}

// networksOf is the memory of node networks under the configuration of a view.
func (s *Scheduler) networksOf(view *projections.View) *nodeNetworks {
	p := s.networks.Load()
	if p == nil || p.config != view.Config() {
		p = newNodeNetworks(view.Config())
		s.networks.Store(p)
	}
	return p
}

// withArgs reads the arguments of filter and prioritize, and hands them on.
func (s *Scheduler) withArgs(w http.ResponseWriter, r *http.Request, respond func(a *args, out []byte) []byte) error {
	body := httpserver.BorrowBuffer()
	defer httpserver.ReturnBuffer(body)
	if err := httpserver.ReadBody(w, r, s.MaxBody, body); err != nil {
		return err
	}
	a := borrowArgs()
	defer a.giveBack()
	if err := a.read(body.Bytes()); err != nil {
		return err
	}
	out := httpserver.BorrowBuffer()
	defer httpserver.ReturnBuffer(out)
	text := respond(a, out.AvailableBuffer())
	out.Write(text) // keeps what the response has grown to for the next request
	if forward.KeepBody(r.Context(), body) {
		return nil // the leader answers
	}
	httpserver.WriteJSON(w, text)
	return nil
}

// locate finds the nodes that came by name, and the network of each. It returns the distinct networks, in the order of
// the nodes: those that the pod may go to.
func (s *Scheduler) locate(a *args, cluster extender.Cluster, p *nodeNetworks) []networkIndex {
	taken := make([]bool, len(p.config.NodeNetworks()))
	var distinct []networkIndex
	for i := range a.nodes {
		c := &a.nodes[i]
		if !a.whole {
			c.node = cluster.Node(c.name)
		}
		c.at = p.of(c.node)
		if c.at >= 0 && !taken[c.at] {
			taken[c.at] = true
			distinct = append(distinct, c.at)
		}
	}
	return distinct
}

// ownerOf is the owner of a pod, if it has a good one.
func ownerOf(pod *kube.Pod) (ipam.Owner, bool) {
	owner, err := kube.OwnerOf(pod)
	return owner, err == nil
}
