package vm

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// inGuest is set in the environment of the virtual machine.
const inGuest = "GALAXY_VM"

// image prepares the virtual machine, or says aloud why it cannot.
func image(t *testing.T) Image {
	t.Helper()
	if os.Getenv(inGuest) != "" {
		t.Skip("this test makes virtual machines, and runs in one")
	}
	_, debian := os.Stat("/etc/debian_version")
	if os.Getuid() != 0 || debian != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("a virtual machine needs root and Debian, for its packages")
		}
		t.Skip("NOT RUN: a virtual machine needs root and Debian, for its packages")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	i, err := Prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image with kernel %s is ready after %s", i.Version, time.Since(start).Round(time.Millisecond))
	return i
}

// guest runs tests of a package in the virtual machine.
func guest(t *testing.T, pkg string, args ...string) (Ended, error) {
	t.Helper()
	i := image(t)
	binary := filepath.Join(t.TempDir(), "test")
	if err := Build(t.Context(), pkg, binary); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "..", strings.TrimPrefix(pkg, "galaxy/"))
	ended, err := i.Run(t.Context(), Guest{
		Binary: binary, Folder: folder, Args: append([]string{"-test.v"}, args...), Timeout: 5 * time.Minute,
	})
	t.Logf("booted after %s, ended after %s", ended.Boot.Round(time.Millisecond), ended.Took.Round(time.Millisecond))
	return ended, err
}

var ran = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// passed makes sure that the tests in the guest have passed, that there were some, and that none was skipped for the
// kernel.
func passed(t *testing.T, e Ended, err error) {
	t.Helper()
	if err != nil || e.Code != 0 {
		t.Fatalf("exit code %d, %v\n%s", e.Code, err, e.Output)
	}
	n := 0
	for _, found := range ran.FindAllStringSubmatch(e.Output, -1) {
		if found[1] == "PASS" {
			n++
		}
	}
	if n == 0 {
		t.Fatalf("no test has run:\n%s", e.Output)
	}
	if strings.Contains(e.Output, "the kernel here has no") {
		t.Errorf("a test was skipped for the kernel:\n%s", e.Output)
	}
	t.Logf("%d tests have passed in the guest", n)
	if testing.Verbose() {
		t.Log(e.Output)
	}
}

// The guest has what it is there for.
func TestGuestLinks(t *testing.T) {
	if os.Getenv(inGuest) == "" {
		e, err := guest(t, "galaxy/integration/vm", "-test.run", "^TestGuestLinks$")
		passed(t, e, err)
		return
	}
	dummy := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "d0"}}
	if err := netlink.LinkAdd(dummy); err != nil {
		t.Fatal(err)
	}
	parent := dummy.Attrs().Index
	for _, link := range []netlink.Link{
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "i0"}, Local: net.IPv4(10, 0, 0, 1)},
		&netlink.Ip6tnl{LinkAttrs: netlink.LinkAttrs{Name: "i6"}, Local: net.ParseIP("fd00::1")},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "v0", ParentIndex: parent}, VlanId: 7},
		&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "m0", ParentIndex: parent},
			Mode: netlink.MACVLAN_MODE_BRIDGE},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a0"}, PeerName: "a1"},
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "b0"}},
	} {
		if err := netlink.LinkAdd(link); err != nil {
			t.Errorf("%s %s: %v", link.Type(), link.Attrs().Name, err)
		}
	}
}

// A guest whose test fails, and one that does not come to its end, are not taken for good ones.
func TestGuestFails(t *testing.T) {
	switch os.Getenv(inGuest) {
	case "":
		e, err := guest(t, "galaxy/integration/vm", "-test.run", "^TestGuestFails$")
		if err != nil || e.Code == 0 || !strings.Contains(e.Output, "as it should") {
			t.Errorf("a test that fails: exit code %d, %v\n%s", e.Code, err, e.Output)
		}
		i := image(t)
		short, err := i.Run(t.Context(), Guest{Binary: "/bin/true", Timeout: 300 * time.Millisecond})
		if !errors.Is(err, ErrGuest) {
			t.Errorf("a guest without time: %+v, %v", short, err)
		}
	default:
		t.Error("as it should")
	}
}

// The tests of routes and tunnels pass on Debian's kernel, tunnels included.
func TestKernelInGuest(t *testing.T) {
	e, err := guest(t, "galaxy/kernel")
	passed(t, e, err)
	for _, name := range []string{"TestTunnelsCarryPackets"} {
		if !strings.Contains(e.Output, "--- PASS: "+name) {
			t.Errorf("%s was not run:\n%s", name, e.Output)
		}
	}
}

// Agents of nodes behind a router reach each other's pods through tunnels; and a clock that jumps is no matter to
// agents, which is tried on a machine that nobody else lives on.
func TestOverlayInGuest(t *testing.T) {
	i := image(t)
	dir := t.TempDir()
	test := filepath.Join(dir, "test")
	if err := Build(t.Context(), "galaxy/integration/overlay", test); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, program := range []string{"galaxy", "galaxy-ipam", "galaxyctl", "galaxy-cni", "galaxy-sdn"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", dir, "galaxy/cmd/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
		files["/guest/bin/"+program] = filepath.Join(dir, program)
	}
	e, err := i.Run(t.Context(), Guest{
		Binary: test, Args: []string{"-test.v", "-test.run", "^(TestCrossSubnet|TestClockJumps)$"},
		Env: []string{"GALAXY_OVERLAY_PROGRAMS=/guest/bin"}, Files: files,
		Timeout: 8 * time.Minute, Memory: 3072,
	})
	t.Logf("booted after %s, ended after %s", e.Boot.Round(time.Millisecond), e.Took.Round(time.Millisecond))
	passed(t, e, err)
}
