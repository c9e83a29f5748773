package rest

import (
	"cmp"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"galaxy/ipam"
	"galaxy/projections"
)

// freshInput is a query that another replica may answer.
type freshInput struct {
	Fresh string `query:"fresh" doc:"true: the replica that leads answers; others may be a moment behind"`
}

// listInput is the query of GET /v1/ip. All are texts, as what is no number counts as not given (contract section 5.2).
type listInput struct {
	freshInput
	Keyword   string `query:"keyword" doc:"Part of the key of a held address; overrides the other fields"`
	PoolName  string `query:"poolName"`
	AppName   string `query:"appName"`
	PodName   string `query:"podName"`
	Namespace string `query:"namespace"`
	AppType   string `query:"appType" doc:"Kind of the workload. Default statefulset, if there is an appName"`
	State     string `query:"state" doc:"Only those: held, bound, claimed, reserved, draining, orphaned (kept for a workload that is gone)"`
	Page      string `query:"page" doc:"From 0; default 0, at most 99999"`
	Size      string `query:"size" doc:"Rows of a page; default 10, at most 9999"`
	Sort      string `query:"sort" doc:"ip, namespace, podname or policy, then asc or desc; default ip asc"`
}

const (
	maxPage     = 99999
	maxSize     = 9999
	defaultSize = 10
)

// paging is which part of a listing is wanted.
type paging struct{ page, size uint64 }

func (in *listInput) paging() (paging, error) {
	p := paging{page: numberOr(in.Page, 0, 0), size: numberOr(in.Size, 1, defaultSize)}
	if p.page > maxPage {
		return p, badRequest("page %s is above %d", in.Page, maxPage)
	}
	if p.size > maxSize {
		return p, badRequest("size %s is above %d", in.Size, maxSize)
	}
	return p, nil
}

// numberOr reads a number of at least least; what is none, or is below, counts as not given.
func numberOr(text string, least, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return n // the largest number, which is out of any bounds
	}
	if err != nil || n < least {
		return otherwise
	}
	return n
}

func (in *listInput) empty() bool {
	return in.Keyword == "" && in.PoolName == "" && in.AppName == "" && in.PodName == "" && in.Namespace == "" &&
		in.AppType == "" && in.State == ""
}

// states are what State may be, beside "".
var states = []string{"held", "bound", "claimed", "reserved", "draining", stateOrphaned}

// stateOrphaned is no state of the log: whether a workload is there is asked of the cluster.
const stateOrphaned = "orphaned"

func (in *listInput) hasState(r reader, a *projections.Address) bool {
	switch in.State {
	case "", "held":
		return true
	case stateOrphaned:
		return r.orphaned(a)
	default:
		return a.State() == in.State
	}
}

// orphaned is true for an address that is kept for a workload, or a pod of one, which is gone: only an administrator
// releases it, if its policy is never.
func (r reader) orphaned(a *projections.Address) bool {
	if a.Node != "" || a.PodUID != "" || a.Owner.App == "" || !r.cluster.KnowsPods() {
		return false
	}
	w := r.cluster.Workload(a.Owner.AppLevel())
	return !w.Exists && !w.Unknown
}

// matches reports whether an owner is asked for. Fields that are given must be equal: web-1 does not match web-10.
func (in *listInput) matches() func(ipam.Owner) bool {
	if in.Keyword != "" {
		return func(o ipam.Owner) bool { return strings.Contains(o.String(), in.Keyword) }
	}
	kinds := in.kinds()
	return func(o ipam.Owner) bool {
		return (in.PoolName == "" || o.Pool == in.PoolName) &&
			(in.AppName == "" || o.App == in.AppName) &&
			(in.PodName == "" || o.Pod == in.PodName) &&
			(in.Namespace == "" || o.Namespace == in.Namespace) &&
			(kinds == nil || slices.Contains(kinds, o.Kind))
	}
}

// kinds are the kinds of workload asked for; nil for any.
func (in *listInput) kinds() []string {
	switch {
	case in.AppType == "" && in.AppName == "":
		return nil
	case isReplicaSet(in.AppType):
		return []string{ipam.KindDeployment, ipam.KindReplicaSet}
	case strings.EqualFold(in.AppType, "NULL"):
		return []string{""}
	default:
		return []string{ipam.KindOfAppType(in.AppType)}
	}
}

// candidates are the held addresses among which the matching ones are, by way of an index where one fits.
func (in *listInput) candidates(view *projections.View) iter.Seq[*projections.Address] {
	if in.Keyword == "" && in.PoolName != "" {
		return view.Held(ipam.Owner{Pool: in.PoolName})
	}
	return view.Addresses(netip.Addr{})
}

// ordering is one of the contract's sort orders.
type ordering struct {
	by         string // "" is by address
	descending bool
}

var orderings = map[string]ordering{
	"ip desc":        {"", true},
	"namespace asc":  {"namespace", false},
	"namespace desc": {"namespace", true},
	"podname":        {"podname", false},
	"podname asc":    {"podname", false},
	"podname desc":   {"podname", true},
	"policy":         {"policy", false},
	"policy asc":     {"policy", false},
	"policy desc":    {"policy", true},
}

func (in *listInput) ordering() ordering {
	return orderings[strings.Join(strings.Fields(strings.ToLower(in.Sort)), " ")]
}

// list finds what is asked for, in order.
func (in *listInput) list(r reader) (listing, error) {
	view := r.view
	if in.State != "" && !slices.Contains(states, in.State) {
		return nil, badRequest("state %q: want one of %s", in.State, strings.Join(states, ", "))
	}
	order := in.ordering()
	if in.empty() {
		all := newSpace(view, order.by == "" && order.descending)
		if order.by == "" {
			return all, nil
		}
		if all.len() > maxSorted {
			return nil, tooManyToSort(all.len(), order)
		}
		list := make(addrs, all.len())
		for i := range list {
			list[i] = all.at(uint64(i))
		}
		return order.sort(view, list), nil
	}
	var list addrs
	wanted := in.matches()
	for a := range in.candidates(view) {
		if wanted(a.Owner) && in.hasState(r, a) {
			list = append(list, a.Addr)
		}
	}
	if order.by != "" && len(list) > maxSorted {
		return nil, tooManyToSort(list.len(), order)
	}
	return order.sort(view, list), nil
}

func tooManyToSort(rows uint64, order ordering) error {
	return badRequest("%d rows are too many to sort by %s; at most %d, so ask for fewer or sort by ip", rows, order.by,
		maxSorted)
}

// sort orders by address first, so that equal rows have one order.
func (o ordering) sort(view *projections.View, list addrs) addrs {
	slices.SortFunc(list, netip.Addr.Compare)
	if o.by == "" {
		if o.descending {
			slices.Reverse(list)
		}
		return list
	}
	owners := make(map[netip.Addr]*projections.Address, len(list))
	for _, addr := range list {
		owners[addr] = view.Address(addr)
	}
	free := new(projections.Address)
	slices.SortStableFunc(list, func(x, y netip.Addr) int {
		a, b := cmp.Or(owners[x], free), cmp.Or(owners[y], free)
		if o.descending {
			a, b = b, a
		}
		switch o.by {
		case "namespace":
			return strings.Compare(a.Owner.Namespace, b.Owner.Namespace)
		case "podname":
			return strings.Compare(a.Owner.Pod, b.Owner.Pod)
		default:
			return cmp.Compare(a.Policy, b.Policy)
		}
	})
	return list
}
