package extender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"galaxy/allocator"
	"galaxy/extender/httpserver"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/stream"
)

// binding is an ExtenderBindingArgs.
type binding struct{ namespace, name, uid, node string }

// maxBindBody is far above what four names need.
const maxBindBody = 64 << 10

func (s *Scheduler) serveBind(w http.ResponseWriter, r *http.Request) error {
	started := time.Now()
	body := httpserver.BorrowBuffer()
	defer httpserver.ReturnBuffer(body)
	if err := httpserver.ReadBody(w, r, maxBindBody, body); err != nil {
		return err
	}
	b, err := readBinding(body.Bytes())
	if err != nil {
		return err
	}
	text := ""
	if err := s.bind(r.Context(), b); err != nil {
		text = err.Error()
	} else {
		s.Metrics.Scheduled("bind", time.Since(started))
	}
	httpserver.WriteJSON(w, append(appendText([]byte(`{"Error":`), text), '}'))
	return nil
}

func readBinding(body []byte) (b binding, err error) {
	dec := stream.New(body)
	err = stream.Object(dec, func(name []byte) error {
		var err error
		switch {
		case is(name, "podname"):
			err = stream.Text(dec, &b.name)
		case is(name, "podnamespace"):
			err = stream.Text(dec, &b.namespace)
		case is(name, "poduid"):
			err = stream.Text(dec, &b.uid)
		case is(name, "node"):
			err = stream.Text(dec, &b.node)
		default:
			err = stream.Skip(dec)
		}
		return err
	})
	if err == nil {
		err = stream.End(dec)
	}
	switch {
	case err != nil:
		return b, malformed(err)
	case b.name == "" || b.namespace == "" || b.node == "":
		return b, httpserver.Refuse(http.StatusBadRequest, "the request needs PodName, PodNamespace and Node; it has %q, %q and %q", b.name, b.namespace, b.node)
	}
	return b, nil
}

// bind allocates what the pod has not got yet, and tells the cluster.
func (s *Scheduler) bind(ctx context.Context, b binding) error {
	cluster := clusterOf(s.Cluster)
	pod, err := s.podOf(ctx, cluster, b)
	if err != nil {
		return err
	}
	if pod.Node != "" && pod.Node != b.node { // the answer to an earlier bind was lost, and the scheduler has chosen anew
		return &kube.BoundError{Pod: pod.String(), Node: pod.Node}
	}
	asked, err := kube.RequestIn(pod, cluster)
	if err != nil {
		return err
	}
	node := s.node(cluster, b.node)
	if node == nil {
		return fmt.Errorf("node %s is not known to galaxy-ipam", b.node)
	}
	if len(node.IPs) == 0 {
		return fmt.Errorf("node %s has no InternalIP", b.node)
	}
	p := s.placesOf(s.Replica.View())
	result, err := s.Replica.Do(ctx, asked.UID, allocator.Bind{Pod: asked, Node: b.node, NodeNetwork: p.network(p.of(node))})
	if err != nil {
		return err
	}
	if s.Assigner != nil {
		if err := s.Assigner.Assign(ctx, asked, b.node, result.Grants); err != nil {
			return err
		}
	}
	if s.Binder == nil {
		return nil
	}
	infos := make([]ipam.IPInfo, len(result.Grants))
	for i, g := range result.Grants {
		infos[i] = g.Info()
	}
	err = s.tell(ctx, pod, b.node, infos)
	var bound *kube.BoundError
	switch {
	case errors.Is(err, kube.ErrPodGone):
		return errors.Join(err, s.giveBack(ctx, asked))
	case errors.As(err, &bound):
		return errors.Join(err, s.correct(ctx, asked, bound.Node, result.Grants))
	default:
		return err
	}
}

// tell tells the cluster, and is counted meanwhile.
func (s *Scheduler) tell(ctx context.Context, pod *kube.Pod, node string, infos []ipam.IPInfo) error {
	s.binds.Add(1)
	defer s.binds.Add(-1)
	return s.Binder.Bind(ctx, pod, node, infos)
}

// correct records where a pod really runs, as this bind has recorded another node for it.
func (s *Scheduler) correct(ctx context.Context, pod allocator.Pod, node string, grants []allocator.Grant) error {
	for _, g := range grants {
		if _, err := s.Replica.Do(ctx, pod.UID+": it was bound to another node", allocator.Adopt{Pod: pod, Node: node, Address: g.Address}); err != nil {
			return err
		}
	}
	return nil
}

// giveBack ends a pod that vanished while it was bound. What fails here, the reconciler does.
func (s *Scheduler) giveBack(ctx context.Context, pod allocator.Pod) error {
	command := allocator.EndPod{Pod: pod}
	if s.Assigner != nil {
		for _, a := range allocator.GivesUp(s.Replica.View(), command) {
			if err := s.Assigner.Unassign(ctx, a); err != nil {
				return err
			}
		}
	}
	_, err := s.Replica.Do(ctx, pod.UID+": it was gone when it was bound", command)
	return err
}

// podOf finds the pod that the scheduler names: as the cluster knows it, else as filter saw it. With a uid, only that very
// pod will do: one of the same name that came before or after is another.
func (s *Scheduler) podOf(ctx context.Context, cluster Cluster, b binding) (*kube.Pod, error) {
	pod := cluster.Pod(b.namespace, b.name)
	if pod == nil || b.uid != "" && pod.UID != b.uid {
		if seen, ok := s.seen.Get(podName{b.namespace, b.name}); ok && (b.uid == "" || seen.UID == b.uid) {
			pod = seen
		} else if s.Lookup != nil { // filter went to another replica, and the news of the pod has not come here yet
			found, err := s.Lookup(ctx, b.namespace, b.name)
			if err != nil {
				return nil, err
			}
			pod = found
		}
	}
	switch {
	case pod == nil:
		return nil, fmt.Errorf("pod %s/%s is not known to galaxy-ipam", b.namespace, b.name)
	case b.uid != "" && pod.UID != b.uid:
		return nil, fmt.Errorf("pod %s/%s has the uid %s, and the one to bind has %s", b.namespace, b.name, pod.UID, b.uid)
	case !pod.Wants:
		return nil, fmt.Errorf("pod %s/%s does not request %s in a regular container (init containers do not count), so galaxy-ipam does not bind it", b.namespace, b.name, kube.ResourceIP)
	case pod.Finished():
		return nil, errors.New("pod " + pod.String() + " has finished")
	}
	return pod, nil
}
