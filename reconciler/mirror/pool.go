package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/allocator"
	"galaxy/ipam"
	api "galaxy/kube/galaxyv1alpha1"
	"galaxy/projections"
)

// poolNamespace is where objects of pools are made, and whose objects win.
const poolNamespace = "kube-system"

// pool brings a pool and its object in step. Status says what was in force when the object was last written: where its
// size differs from that, a user has edited it.
func (m *Mirror) pool(ctx context.Context, name string) error {
	k := key{pool: true, name: name}
	have := m.chosen(m.pools.get(k))
	view := m.Replica.View()
	p := view.Pool(name)
	switch {
	case have == nil && p == nil:
		m.pools.settle(k)
		return nil
	case have == nil && m.pools.wasWithdrawn(k):
		_, err := m.Replica.Do(ctx, "Pool "+name, allocator.DeletePool{Pool: name})
		if err == nil || errors.Is(err, allocator.ErrNoPool) {
			m.pools.settle(k)
			return nil
		}
		return err
	case have == nil:
		return m.pools.create(ctx, newPool(p))
	case p == nil && m.wasDeleted(name) && have.Status.Size != nil:
		return m.pools.remove(ctx, have)
	case p == nil, edited(have) && !inForce(have, p):
		return m.size(ctx, have)
	}
	return m.show(ctx, have, p, view.Scope(ipam.Owner{Pool: name}))
}

// chosen is the object that counts of several of one name.
func (m *Mirror) chosen(there []*api.Pool) *api.Pool {
	var all []*api.Pool
	for _, pool := range there {
		if slices.Contains(m.PoolNamespaces, pool.Namespace) {
			all = append(all, pool)
			continue
		}
		m.report("Pool", pool, eventIgnored, fmt.Sprintf("pools count in the namespaces %s: this one has no effect; "+
			"see --pool-namespaces", strings.Join(m.PoolNamespaces, ", ")))
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *api.Pool) int {
		if (a.Namespace == poolNamespace) != (b.Namespace == poolNamespace) {
			if a.Namespace == poolNamespace {
				return -1
			}
			return 1
		}
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace))
	})
	for _, other := range all[1:] {
		m.report("Pool", other, eventIgnored, fmt.Sprintf("the pool %s is that of the object in namespace %s",
			other.Name, all[0].Namespace))
	}
	return all[0]
}

func newPool(p *projections.Pool) *api.Pool {
	return &api.Pool{
		TypeMeta:   metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: "Pool"},
		ObjectMeta: metav1.ObjectMeta{Namespace: poolNamespace, Name: p.Name},
		Size:       int32(p.Size), PreAllocateIP: p.PreAllocate,
	}
}

// edited reports whether a user has changed the object since it was last written.
func edited(have *api.Pool) bool {
	return have.Status.Size == nil || *have.Status.Size != have.Size || have.Status.PreAllocateIP != have.PreAllocateIP
}

func inForce(have *api.Pool, p *projections.Pool) bool {
	return int(have.Size) == p.Size && have.PreAllocateIP == p.PreAllocate
}

// size does what a user asks for with the object.
func (m *Mirror) size(ctx context.Context, have *api.Pool) error {
	_, err := m.Replica.Do(ctx, "Pool "+have.Namespace+"/"+have.Name,
		allocator.SizePool{Pool: have.Name, Size: int(have.Size), PreAllocate: have.PreAllocateIP})
	return err // its event has the object compared again
}

// show writes what is in force, and then what it is used for.
func (m *Mirror) show(ctx context.Context, have *api.Pool, p *projections.Pool, scope projections.Scope) error {
	if !inForce(have, p) {
		next := have.DeepCopy()
		next.Size, next.PreAllocateIP = int32(p.Size), p.PreAllocate
		if err := m.pools.update(ctx, next); err != nil {
			return err
		}
		return errStale // the status follows, on the object as it is then
	}
	size := int32(p.Size)
	status := api.PoolStatus{Size: &size, PreAllocateIP: p.PreAllocate, Held: int32(scope.Held),
		Used: int32(scope.Used())}
	if have.Status.Size != nil && *have.Status.Size == size && have.Status.PreAllocateIP == status.PreAllocateIP &&
		have.Status.Held == status.Held && have.Status.Used == status.Used {
		return nil
	}
	next := have.DeepCopy()
	next.Status = status
	return m.pools.update(ctx, next, "status")
}
