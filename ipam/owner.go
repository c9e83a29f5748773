package ipam

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds that the text form of an owner abbreviates (contract section 4.1).
const (
	KindDeployment  = "deployment"
	KindStatefulSet = "statefulset"
	KindReplicaSet  = "replicaset"
)

// Owner is whom an address is held for: a pod, an app (a Deployment, a StatefulSet, ...) or a pool.
//
// Three levels are distinguished by which fields are set. A pod level owner has Pod; an app level owner has App but no
// Pod, and keeps addresses for whichever pod of that app comes next; a pool level owner has only Pool, and keeps them
// for any pod of the pool, in any namespace. A pod without a workload has no Kind and no App.
//
// Owner is comparable. Its text form, String, is for the edges: REST, metrics, keys of FloatingIP objects.
type Owner struct {
	Kind      string `json:"kind,omitempty"` // lower case: deployment, statefulset, replicaset, tapp, job, ...
	Namespace string `json:"namespace,omitempty"`
	App       string `json:"app,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Pool      string `json:"pool,omitempty"`
}

// Check fails for an owner that may not stand in the log: it is nobody, an app or a pod without a namespace, or has a
// name that CheckName refuses.
func (o Owner) Check() error {
	switch named := o.App != "" || o.Pod != ""; {
	case !named && o.Pool == "":
		return errors.New("no owner: name a pool, an app or a pod")
	case named && o.Namespace == "":
		return errors.New("namespace is missing")
	}
	for _, part := range [...]struct{ what, name string }{
		{"kind", o.Kind}, {"namespace", o.Namespace}, {"app", o.App}, {"pod", o.Pod}, {"pool", o.Pool},
	} {
		if err := CheckName(part.name); err != nil {
			return fmt.Errorf("%s: %w", part.what, err)
		}
	}
	return nil
}

// IsZero reports whether nobody is meant.
func (o Owner) IsZero() bool { return o == Owner{} }

// IsPod reports whether the owner is one pod.
func (o Owner) IsPod() bool { return o.Pod != "" }

// AppLevel is the owner without its pod: the app, inside its pool if it has one (the contract's PoolAppPrefix).
func (o Owner) AppLevel() Owner {
	if o.App == "" {
		return Owner{Pool: o.Pool}
	}
	o.Pod = ""
	return o
}

// Scope is the quota scope of an owner: the one whose addresses are interchangeable for this one: its pool, else its
// app (the contract's PoolPrefix). It is the level at which counts are limited and at which reserved addresses are kept
// for a set workload.
func (o Owner) Scope() Owner {
	if o.Pool != "" {
		return Owner{Pool: o.Pool}
	}
	return o.AppLevel()
}

// Covers reports whether other is this owner or below it: a pod of the app, an app or pod of the pool.
func (o Owner) Covers(other Owner) bool {
	switch {
	case o.Pod != "":
		return other == o
	case o.App != "":
		return other.AppLevel() == o
	default:
		return other.Pool == o.Pool
	}
}

// IsSet reports whether the pods of the workload are interchangeable, so that it keeps a set of addresses rather than
// one for each pod name: Deployments and ReplicaSets, whose pods have random names.
func (o Owner) IsSet() bool { return o.Kind == KindDeployment || o.Kind == KindReplicaSet }

// Ordinal is the number after the last "-" of the pod's name, as StatefulSets number their pods; ok is false without
// one.
func (o Owner) Ordinal() (n int, ok bool) {
	cut := strings.LastIndexByte(o.Pod, '-')
	digits := o.Pod[cut+1:]
	if cut < 0 || digits == "" || len(digits) > 9 {
		return 0, false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		n = n*10 + int(digits[i]-'0')
	}
	return n, true
}

// Describe names the owner for a person, as in an error message.
func (o Owner) Describe() string {
	workload := o.Kind
	if workload == "" {
		workload = "workload"
	}
	switch {
	case o.Pod != "":
		return fmt.Sprintf("pod %s/%s", o.Namespace, o.Pod)
	case o.App != "":
		return fmt.Sprintf("%s %s/%s", workload, o.Namespace, o.App)
	case o.Pool != "":
		return "pool " + o.Pool
	default:
		return "nobody"
	}
}

const (
	poolMark = "pool__"
	noOwner  = "NULL" // kind and app of a pod without workload, in the text form
)

// String is the contract's key: [pool__<pool>_]<kind>_<namespace>_<app>_<pod>, with the kinds deployment and
// statefulset written dp and sts, and NULL for the kind and app of a pod without workload. Names that would make the
// text ambiguous ("_", "%", or a literal NULL, dp or sts) are percent-encoded, so ParseOwner gives back exactly this
// owner; no valid Kubernetes name needs that, only pool names, which are free text.
func (o Owner) String() string {
	var b strings.Builder
	if o.Pool != "" {
		b.WriteString(poolMark)
		b.WriteString(escape(o.Pool))
		b.WriteByte('_')
	}
	if o.Kind == "" && o.Namespace == "" && o.App == "" && o.Pod == "" {
		return b.String()
	}
	b.WriteString(kindText(o.Kind))
	for _, part := range [...]string{escape(o.Namespace), o.appText(), escape(o.Pod)} {
		b.WriteByte('_')
		b.WriteString(part)
	}
	return b.String()
}

func (o Owner) appText() string {
	if o.App == "" && o.Kind == "" {
		return noOwner
	}
	return escape(o.App)
}

// ParseOwner reads the text form. Keys written by the contract's reference, which leaves "_" in pool names as it is,
// are read from the right: the last four parts are kind, namespace, app and pod, and what stands before them is the
// pool.
func ParseOwner(text string) (Owner, error) {
	var o Owner
	rest := text
	if tail, pooled := strings.CutPrefix(text, poolMark); pooled {
		pool, owner, ok := cutPool(tail)
		if !ok {
			return Owner{}, fmt.Errorf("owner %.*q: no pool name after %q; want "+
				"pool__<pool>_[<kind>_<namespace>_<app>_<pod>]", maxShown, text, poolMark)
		}
		o.Pool, rest = pool, owner
	}
	if rest == "" {
		return o.unescape(text)
	}
	parts := strings.Split(rest, "_")
	if len(parts) != 4 {
		return Owner{}, fmt.Errorf("owner %.*q: %d parts between underscores, want 4: <kind>_<namespace>_<app>_<pod>",
			maxShown, text, len(parts))
	}
	o.Kind, o.Namespace, o.App, o.Pod = kindOf(parts[0]), parts[1], parts[2], parts[3]
	if o.Kind == "" && o.App == noOwner {
		o.App = ""
	}
	return o.unescape(text)
}

// cutPool splits what follows the pool mark into the pool's name and the rest.
func cutPool(tail string) (pool, rest string, ok bool) {
	parts := strings.Split(tail, "_")
	switch n := len(parts); {
	case n < 2:
		return "", "", false
	case n >= 6: // a raw "_" in the pool's name, as the reference writes it
		pool, rest = strings.Join(parts[:n-4], "_"), strings.Join(parts[n-4:], "_")
	case n == 5:
		pool, rest = parts[0], strings.Join(parts[1:], "_")
	case parts[n-1] == "":
		pool = strings.Join(parts[:n-1], "_")
	default:
		return "", "", false
	}
	return pool, rest, pool != ""
}

func (o Owner) unescape(text string) (Owner, error) {
	for _, field := range []*string{&o.Kind, &o.Namespace, &o.App, &o.Pod, &o.Pool} {
		plain, err := unescape(*field)
		if err != nil {
			return Owner{}, fmt.Errorf("owner %.*q: %w", maxShown, text, err)
		}
		*field = plain
	}
	return o, nil
}
