package allocator

import (
	"galaxy/ipam"
	"galaxy/projections"
)

// quota is how many addresses the scope of a pod may hold, and does.
type quota struct {
	limited  bool
	sized    bool // by the size of its pool
	scope    ipam.Owner
	used     int // held for pods, as far as they count against this limit
	held     int // held for pods or reserved
	reserved int // waiting in the scope for a pod
	limit    int
	surge    int // of the limit
}

// quotaOf is contract section 4.4 steps 6 and 7. A pool with a size limits all its pods, whatever their workload;
// without one, a Deployment that keeps its addresses is limited by its replicas.
func quotaOf(view *projections.View, pod Pod) quota {
	scope := view.Scope(pod.Owner.Scope())
	q := quota{scope: scope.Owner, used: scope.Used(), held: scope.Held, reserved: scope.Reserved}
	if pod.Owner.Pool != "" {
		if pool := view.Pool(pod.Owner.Pool); pool != nil {
			q.limited, q.sized, q.limit = true, true, pool.Size
			return q
		}
	}
	if !pod.Owner.IsSet() || pod.Policy == ipam.ReleaseOnDelete {
		if pod.Owner.Pool == "" {
			q.reserved = 0 // kept for its pods' names, not for any pod
		}
		return q
	}
	if pod.Workload.Unknown {
		return q
	}
	app := pod.Owner.AppLevel()
	mine := view.Scope(app)
	q.limited, q.scope, q.used, q.limit = true, app, mine.Used(), pod.Workload.most()
	if pod.Owner.Pool != "" {
		q.held = mine.Held // what other apps of the pool hold does not count
	}
	q.surge = pod.Workload.Surge
	if !pod.Workload.Exists {
		q.limit = 0
	}
	return q
}

// check fails when the pod is beyond the limit.
func (q quota) check() error {
	if q.limited && q.used >= q.limit {
		return &LimitError{Scope: q.scope, Used: q.used, Limit: q.limit, Surge: q.surge}
	}
	return nil
}

// mayGrow reports whether the scope may hold one address more.
func (q quota) mayGrow() bool { return !q.limited || q.held < q.limit }

// Limited reports whether a limit, and not a want of addresses, keeps a pod from getting one: it waits until the scope
// gives one back, or may hold more.
func Limited(view *projections.View, pod Pod) bool {
	q := quotaOf(view, pod)
	return q.check() != nil || !q.mayGrow() && q.reserved == 0 && len(heldBy(view, pod)) == 0
}
