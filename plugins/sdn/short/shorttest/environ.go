// Package shorttest has what the tests of galaxy-sdn share.
package shorttest

import (
	"slices"
	"strings"
)

// Environ is the environment of a plain call with changes: an entry replaces the one of its name, and a name alone
// takes it away. Its network namespace is not there.
func Environ(command string, changes ...string) []string {
	all := []string{
		"PATH=/bin", "CNI_COMMAND=" + command, "CNI_CONTAINERID=c80a21", "CNI_NETNS=/var/run/netns/nobody's",
		"CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=probe",
	}
	for _, change := range changes {
		name, _, set := strings.Cut(change, "=")
		all = slices.DeleteFunc(all, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
		if set {
			all = append(all, change)
		}
	}
	return all
}
