package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"galaxy/extender"
	"galaxy/extender/binding"
	"galaxy/extender/httpserver"
	"galaxy/kube"
	"galaxy/kube/stream"
)

// bindingArgs is an ExtenderBindingArgs.
type bindingArgs struct{ namespace, name, uid, node string }

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
	order, err := s.order(r.Context(), b)
	if err == nil {
		err = s.saga.Bind(r.Context(), order)
	}
	if err == nil {
		s.Metrics.Scheduled("bind", time.Since(started))
	}
	httpserver.WriteJSON(w, appendBindResult(nil, err))
	return nil
}

// appendBindResult writes an ExtenderBindingResult.
func appendBindResult(out []byte, err error) []byte {
	text := ""
	if err != nil {
		text = err.Error()
	}
	return append(appendText(append(out, `{"Error":`...), text), '}')
}

func readBinding(body []byte) (b bindingArgs, err error) {
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
		return b, httpserver.Refuse(http.StatusBadRequest,
			"the request needs PodName, PodNamespace and Node; it has %q, %q and %q", b.name, b.namespace, b.node)
	}
	return b, nil
}

// order is what a bind comes to, if it makes sense for this pod and this node.
func (s *Scheduler) order(ctx context.Context, b bindingArgs) (binding.Order, error) {
	cluster := extender.ClusterOf(s.Cluster)
	pod, err := s.podOf(ctx, cluster, b)
	if err != nil {
		return binding.Order{}, err
	}
	// the response to an earlier bind was lost, and the scheduler has chosen anew
	if pod.Node != "" && pod.Node != b.node {
		return binding.Order{}, &kube.BoundError{Pod: pod.String(), Node: pod.Node}
	}
	asked, err := kube.RequestIn(pod, cluster)
	if err != nil {
		return binding.Order{}, err
	}
	node := s.node(cluster, b.node)
	if node == nil {
		return binding.Order{}, fmt.Errorf("node %s is not known to galaxy-ipam", b.node)
	}
	if len(node.IPs) == 0 {
		return binding.Order{}, fmt.Errorf("node %s has no InternalIP", b.node)
	}
	p := s.networksOf(s.Replica.View())
	return binding.Order{Pod: pod, Asked: asked, Node: b.node, Network: p.network(p.of(node))}, nil
}

// podOf finds the pod that the scheduler names: as the cluster knows it, else as filter saw it. With a uid, only that
// very pod will do: one of the same name that came before or after is another.
func (s *Scheduler) podOf(ctx context.Context, cluster extender.Cluster, b bindingArgs) (*kube.Pod, error) {
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
		return nil, fmt.Errorf("pod %s/%s has the uid %s, and the one to bind has %s", b.namespace, b.name, pod.UID,
			b.uid)
	case !pod.Wants:
		return nil, fmt.Errorf("pod %s/%s does not request %s in a regular container (init containers do not count), "+
			"so galaxy-ipam does not bind it", b.namespace, b.name, kube.ResourceIP)
	case pod.Finished():
		return nil, errors.New("pod " + pod.String() + " has finished")
	}
	return pod, nil
}
