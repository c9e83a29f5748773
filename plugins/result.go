package plugins

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types040 "github.com/containernetworking/cni/pkg/types/040"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// NewestResult gives a result the newest form. What comes from other programs comes in here: a result that CheckResult
// refuses is an error.
func NewestResult(from types.Result) (*types100.Result, error) {
	old, ok := from.(*types040.Result)
	if ok && (slices.Contains(old.Interfaces, nil) || slices.Contains(old.IPs, nil) ||
		slices.Contains(old.Routes, nil)) {
		// the library's conversion would panic
		return nil, errors.New("an interface, an address or a route of it is null")
	}
	result, err := types100.NewResultFromResult(from)
	if err != nil {
		return nil, err
	}
	return result, CheckResult(result)
}

// CheckResult says what is wrong with a result. One that passes has no null interface, address or route, an address
// wherever one must be, and no index that leads out of its interfaces; it has a form in every version that has room for
// it, and can be read again once it is written.
func CheckResult(r *types100.Result) error {
	if r == nil {
		return errors.New("it is null")
	}
	if !slices.Contains([]string{"", "1.0.0", types100.ImplementedSpecVersion}, r.CNIVersion) {
		return fmt.Errorf("it says that it has the form of version %q, and has that of %s", r.CNIVersion,
			types100.ImplementedSpecVersion)
	}
	if i := slices.Index(r.Interfaces, nil); i >= 0 {
		return fmt.Errorf("interface %d is null", i)
	}
	for i, ip := range r.IPs {
		switch {
		case ip == nil:
			return fmt.Errorf("address %d is null", i)
		case !isPrefix(ip.Address):
			return fmt.Errorf("address %d is %q, want an address with a mask", i, ip.Address.String())
		case ip.Interface != nil && (*ip.Interface < 0 || *ip.Interface >= len(r.Interfaces)):
			return fmt.Errorf("address %s is at interface %d of %d", ip.Address.String(), *ip.Interface,
				len(r.Interfaces))
		}
	}
	for i, route := range r.Routes {
		switch {
		case route == nil:
			return fmt.Errorf("route %d is null", i)
		case !isPrefix(route.Dst):
			return fmt.Errorf("route %d has the destination %q, want a network", i, route.Dst.String())
		}
	}
	return nil
}

// isPrefix reports whether a network of a result is one, also when it was written and read again.
func isPrefix(n net.IPNet) bool {
	_, _, err := net.ParseCIDR(n.String())
	return err == nil && Prefix(n).IsValid()
}
