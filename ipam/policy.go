package ipam

import (
	"fmt"
	"strconv"
)

// Policy says when an address is given back (contract section 2, k8s.v1.cni.galaxy.io/release-policy).
type Policy uint8

// The policies, with the contract's numbers.
const (
	ReleaseOnDelete Policy = 0 // when the pod is deleted or has finished
	Immutable       Policy = 1 // when the workload is deleted or scaled down
	Never           Policy = 2 // only when an administrator releases it
)

var policyNames = [...]string{"release", "immutable", "never"}

// String is the name that the log and galaxyctl use.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return strconv.Itoa(int(p))
}

// Valid reports whether p is one of the three policies.
func (p Policy) Valid() bool { return int(p) < len(policyNames) }

// MarshalText writes the policy's name.
func (p Policy) MarshalText() ([]byte, error) {
	if !p.Valid() {
		return nil, fmt.Errorf("policy %d: want 0, 1 or 2", uint8(p))
	}
	return []byte(policyNames[p]), nil
}

// UnmarshalText reads a policy's name as MarshalText writes it; anything else is an error.
func (p *Policy) UnmarshalText(text []byte) error {
	for i, name := range policyNames {
		if string(text) == name {
			*p = Policy(i)
			return nil
		}
	}
	return fmt.Errorf("policy %q: want release, immutable or never", text)
}

// PolicyOf reads a pod's annotations: a pool forces Never, and an unknown release policy means ReleaseOnDelete, as the
// contract says.
func PolicyOf(releasePolicy, pool string) Policy {
	switch {
	case pool != "" || releasePolicy == "never":
		return Never
	case releasePolicy == "immutable":
		return Immutable
	default:
		return ReleaseOnDelete
	}
}
