package veth_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"galaxy/plugins/veth"
)

// A prevResult that cannot be used is an error of CHECK and REPAIR, and keeps no container: a DEL goes on without it.
func TestUnsoundPrevResult(t *testing.T) {
	b := newHarness(t, "10.1.0.2/24")
	one, result := b.pod("one")
	b.pod("two")
	for _, prev := range []string{
		`{"cniVersion":"1.1.0","ips":[null]}`,
		`{"cniVersion":"1.1.0","interfaces":[null],"ips":[{"address":"10.1.0.2/24","interface":0}]}`,
		`{"cniVersion":"1.1.0","routes":[null],"ips":[{"address":"10.1.0.2/24"}]}`, `{"cniVersion":"9.0.0"}`,
		`{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.2/24","interface":-1}]}`,
	} {
		a := args("one", one, "eth0", `,"prevResult":`+prev)
		for what, do := range map[string]func() error{
			"CHECK":  func() error { return veth.Plugin().Check(context.Background(), b.environment(), a) },
			"REPAIR": func() error { return veth.Plugin().Repair(context.Background(), b.environment(), a) },
		} {
			if err := b.host.Do(do); err == nil {
				t.Errorf("%s with %s succeeds", what, prev)
			}
		}
		b.must(b.host.Do(func() error {
			host := b.environment()
			host.Later = func(work func() error) { _ = work() }
			return veth.Plugin().Del(context.Background(), host, args("two", nil, "eth0", `,"prevResult":`+prev))
		}))
	}
	b.must(b.check(args("one", one, "eth0"), result))
	b.must(b.del(args("one", one, "eth0")))
	b.nothing()
}

// What is at CNI_NETNS and is no network namespace is refused by ADD and CHECK, and a DEL goes on as without one.
// Nothing is waited for.
func TestNoNetworkNamespace(t *testing.T) {
	b := newHarness(t, "10.1.0.2/24")
	one, result := b.pod("one")
	dir := t.TempDir()
	plain, pipe, loop := filepath.Join(dir, "plain"), filepath.Join(dir, "pipe"), filepath.Join(dir, "loop")
	b.must(os.WriteFile(plain, nil, 0o600))
	b.must(syscall.Mkfifo(pipe, 0o600))
	b.must(os.Symlink(loop, loop))
	for _, path := range []string{
		plain, pipe, loop, plain + "/below", dir, "/dev/null", "no\x00path", "relative",
		"/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/ns/user", "/proc/self/status",
	} {
		a := args("two", nil, "eth0")
		a.Netns = path
		if _, err := b.add(a); err == nil {
			t.Errorf("%q: ADD succeeds", path)
		}
		if err := b.check(a, result); err == nil {
			t.Errorf("%q: CHECK succeeds", path)
		}
		if err := b.del(a); err != nil {
			t.Errorf("%q: DEL: %v", path, err)
		}
	}
	b.must(b.check(args("one", one, "eth0"), result))
	a := args("one", nil, "eth0")
	a.Netns = "/proc/self/ns/mnt"
	b.must(b.del(a))
	b.nothing()
}

// What an IPAM in the agent's process returns is checked, too.
func TestUnsoundResultOfIPAM(t *testing.T) {
	b := newHarness(t, "10.1.0.2/24")
	b.ipam.Routes = append(b.ipam.Routes, nil)
	_, err := b.add(args("one", b.namespace(), "eth0"))
	if want := "route 0 is null"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("ADD: %v, want %q", err, want)
	}
	b.nothing()
}
