package scheduler

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/extender/httpserver"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/stream"
	"galaxy/projections"
)

// preemption is an ExtenderPreemptionArgs.
type preemption struct {
	pod   *kube.Pod
	nodes []nodeVictims
	meta  bool // nodes came as NodeNameToMetaVictims, which wins
}

// nodeVictims are the pods that the scheduler would evict from a node.
type nodeVictims struct {
	node       string
	victims    []victim
	violations int64
}

// victim is a pod to be evicted. Whole pods come only while the scheduler thinks that the extender has no cache.
type victim struct {
	uid string
	pod *kube.Pod // nil when only the uid came
}

func (s *Scheduler) servePreempt(w http.ResponseWriter, r *http.Request) error {
	body, out := httpserver.BorrowBuffer(), httpserver.BorrowBuffer()
	defer httpserver.ReturnBuffer(body)
	defer httpserver.ReturnBuffer(out)
	if err := httpserver.ReadBody(w, r, s.MaxBody, body); err != nil {
		return err
	}
	p, err := readPreemption(body.Bytes())
	if err != nil {
		return err
	}
	text := appendPreemptionResult(out.AvailableBuffer(), s.preempt(p))
	out.Write(text)
	httpserver.WriteJSON(w, text)
	return nil
}

func readPreemption(body []byte) (*preemption, error) {
	dec, p := stream.New(body), new(preemption)
	err := stream.Object(dec, func(name []byte) error {
		var err error
		switch {
		case is(name, "pod"):
			p.pod, err = kube.ReadPod(dec)
		case is(name, "nodenametovictims") && !p.meta:
			p.nodes, err = readVictims(dec, true)
		case is(name, "nodenametometavictims") && dec.PeekKind() == '{':
			p.meta = true
			p.nodes, err = readVictims(dec, false)
		default:
			err = stream.Skip(dec)
		}
		return under(name, err)
	})
	if err == nil {
		err = stream.End(dec)
	}
	switch {
	case err != nil:
		return nil, malformed(err)
	case p.pod == nil:
		return nil, httpserver.Refuse(http.StatusBadRequest, "the request has no Pod")
	}
	return p, nil
}

func readVictims(dec *jsontext.Decoder, whole bool) ([]nodeVictims, error) {
	var nodes []nodeVictims
	err := stream.Object(dec, func(name []byte) error {
		node := nodeVictims{node: string(name)}
		err := stream.Object(dec, func(name []byte) error {
			switch {
			case is(name, "pods"):
				return stream.Array(dec, func() error {
					v, err := readVictim(dec, whole)
					node.victims = append(node.victims, v)
					return err
				})
			case is(name, "numpdbviolations"):
				return stream.Int(dec, &node.violations)
			}
			return stream.Skip(dec)
		})
		nodes = append(nodes, node)
		return err
	})
	return nodes, err
}

func readVictim(dec *jsontext.Decoder, whole bool) (victim, error) {
	if whole {
		pod, err := kube.ReadPod(dec)
		if err != nil || pod == nil {
			return victim{}, err
		}
		return victim{uid: pod.UID, pod: pod}, nil
	}
	var v victim
	err := stream.Object(dec, func(name []byte) error {
		if is(name, "uid") {
			return stream.Text(dec, &v.uid)
		}
		return stream.Skip(dec)
	})
	return v, err
}

// preempt drops the nodes where evicting pods would not give this pod an address. It takes nothing: the pod is
// scheduled anew once the victims are gone. When the pod cannot be judged, all nodes stay.
func (s *Scheduler) preempt(p *preemption) []nodeVictims {
	cluster := extender.ClusterOf(s.Cluster)
	pod, err := kube.RequestIn(p.pod, cluster)
	if !p.pod.Wants || err != nil {
		return p.nodes
	}
	view := s.Replica.View()
	where := s.networksOf(view)
	networks := make([]netip.Prefix, len(p.nodes))
	var candidates []netip.Prefix
	for i, n := range p.nodes {
		networks[i] = where.network(where.of(s.node(cluster, n.node)))
		if networks[i].IsValid() && !slices.Contains(candidates, networks[i]) {
			candidates = append(candidates, networks[i])
		}
	}
	response, err := allocator.Filter(view, pod, candidates, s.Replica.Env())
	if err != nil {
		return p.nodes
	}
	if response.Claim {
		response.Networks = allocator.Claimable(view, pod, candidates, s.Replica.Env())
	}
	pinned := holds(view, pod.Owner)
	var kept []nodeVictims
	for i, n := range p.nodes {
		if slices.Contains(response.Networks, networks[i]) ||
			!pinned && networks[i].IsValid() && slices.ContainsFunc(n.victims,
				func(v victim) bool { return frees(view, cluster, v, networks[i]) }) {
			kept = append(kept, n)
		}
	}
	return kept
}

func holds(view *projections.View, owner ipam.Owner) bool {
	for range view.Held(owner) {
		return true
	}
	return false
}

// frees reports whether the end of a victim gives back an address that nodes of the network may use.
func frees(view *projections.View, cluster extender.Cluster, v victim, network netip.Prefix) bool {
	pod := v.pod
	if pod == nil {
		pod = cluster.PodByUID(v.uid)
	}
	if pod == nil {
		return false
	}
	owner, ok := ownerOf(pod)
	if !ok {
		return false
	}
	for a := range view.Held(owner) {
		if a.PodUID == v.uid && a.Policy == ipam.ReleaseOnDelete && view.Config().Serves(a.Addr, network) {
			return true
		}
	}
	return false
}

// appendPreemptionResult writes an ExtenderPreemptionResult: uids only, whatever came.
func appendPreemptionResult(out []byte, nodes []nodeVictims) []byte {
	out = append(out, `{"NodeNameToMetaVictims":{`...)
	for i, n := range nodes {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendText(out, n.node)
		out = append(out, `:{"Pods":[`...)
		for j, v := range n.victims {
			if j > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"UID":`...)
			out = append(appendText(out, v.uid), '}')
		}
		out = append(out, `],"NumPDBViolations":`...)
		out = strconv.AppendInt(out, n.violations, 10)
		out = append(out, '}')
	}
	return append(out, `}}`...)
}
