package pair

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"net"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"galaxy/plugins"
)

// HostName is the name of the host's end. It is a digest of both names, so that neither two containers whose IDs begin
// alike nor two interfaces of one container can collide.
func HostName(containerID, ifName string) string {
	digest := sha256.Sum256([]byte(containerID + "/" + ifName))
	return "v-h" + strings.ToLower(base32.StdEncoding.EncodeToString(digest[:])[:12])
}

// Spec is the pair that is wanted.
type Spec struct {
	ContainerID, IfName string
	MTU                 int
	// Master is the index of the bridge that takes the host's end, or 0.
	Master int
	// Plugin and Network are noted at the host's end, so that garbage can be distinguished from what belongs to others.
	Plugin, Network string
}

// Pair is a veth pair.
type Pair struct {
	HostName, Name   string
	HostIndex, Index int
	HostMAC, MAC     net.HardwareAddr
	MTU              int
}

// Create makes the pair; the host's end is up, the container's is not yet. If it fails nothing is left.
func (n *Namespaces) Create(spec Spec) (Pair, error) {
	p := Pair{HostName: HostName(spec.ContainerID, spec.IfName), Name: spec.IfName, HostMAC: NewMAC(), MAC: NewMAC(),
		MTU: spec.MTU}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = p.HostName, p.MTU, p.HostMAC, net.FlagUp
	// Both addresses are given at creation. One that the kernel chose would be replaced by udev at some moment after,
	// and the neighbour entry of the container would lead nowhere.
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: p.Name, PeerHardwareAddr: p.MAC,
		PeerNamespace: netlink.NsFd(n.fd)}
	if err := n.Host.LinkAdd(link); err != nil {
		return Pair{}, n.explain(spec, p, err)
	}
	if err := n.complete(spec, &p, link); err != nil {
		return Pair{}, errors.Join(err, n.remove(link))
	}
	return p, nil
}

func (n *Namespaces) complete(spec Spec, p *Pair, link *netlink.Veth) error {
	p.HostIndex = link.Index
	if p.HostIndex == 0 {
		return plugins.Errorf(plugins.ErrKernel, "%s vanished while it was made", p.HostName)
	}
	peer, err := n.Container.LinkByName(p.Name)
	if err != nil {
		return plugins.Errorf(plugins.ErrKernel, "find %s in %s: %w", p.Name, n.path, err)
	}
	p.Index, p.MTU = peer.Attrs().Index, peer.Attrs().MTU
	if note := Note(spec.Plugin, spec.Network, spec.ContainerID, spec.IfName); len(note) < maxAlias {
		if err := n.Host.LinkSetAlias(link, note); err != nil {
			return plugins.Errorf(plugins.ErrKernel, "note at %s whose it is: %w", p.HostName, err)
		}
	}
	if spec.Master == 0 {
		return nil
	}
	if err := n.Host.LinkSetMasterByIndex(link, spec.Master); err != nil {
		return plugins.Errorf(plugins.ErrKernel, "put %s into the bridge: %w", p.HostName, err)
	}
	return nil
}

// explain says which of the two names was taken, for the kernel says only that something is.
func (n *Namespaces) explain(spec Spec, p Pair, err error) error {
	if !errors.Is(err, unix.EEXIST) {
		return plugins.Errorf(plugins.ErrKernel, "make the veth pair %s, %s in %s: %w", p.HostName, p.Name, n.path, err)
	}
	if _, missing := n.Host.LinkByName(p.HostName); missing == nil {
		return plugins.Errorf(plugins.ErrExists,
			"container %s has interface %s already (its other end is %s): it must be deleted by a DEL before it can "+
				"be added again",
			spec.ContainerID, p.Name, p.HostName)
	}
	return plugins.Errorf(plugins.ErrExists,
		"there is an interface %s in %s already, made by something else: choose another name", p.Name, n.path)
}

// Up takes the container's end into use.
func (n *Namespaces) Up(p Pair) error {
	if err := n.Container.LinkSetUp(index(p.Index)); err != nil {
		return plugins.Errorf(plugins.ErrKernel, "set %s in %s up: %w", p.Name, n.path, err)
	}
	return nil
}

// Delete removes a pair that Create made.
func (n *Namespaces) Delete(p Pair) error { return n.remove(index(p.HostIndex)) }

func (n *Namespaces) remove(link netlink.Link) error { return removeLink(n.Host, link) }

func removeLink(h *netlink.Handle, link netlink.Link) error {
	err := h.LinkDel(link)
	if err == nil || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return plugins.Errorf(plugins.ErrKernel, "delete %s: %w", link.Attrs().Name, err)
}

func index(i int) netlink.Link { return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: i}} }

// AddAddress gives one end an address. Duplicate detection is off, as it would keep an IPv6 address from being used for
// a second and nobody else is on the wire. IPv6 that was switched off for this interface is switched on.
func (n *Namespaces) AddAddress(h *netlink.Handle, ifIndex int, ifName string, addr *netlink.Addr) error {
	link := index(ifIndex)
	if addr.IP.To4() != nil {
		return h.AddrAdd(link, addr)
	}
	addr.Flags |= unix.IFA_F_NODAD
	err := h.AddrAdd(link, addr)
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	write := n.WriteSysctl
	if h == n.Host {
		write = WriteHostSysctl
	}
	if err := write("net/ipv6/conf/"+ifName+"/disable_ipv6", "0"); err != nil {
		return err
	}
	return h.AddrAdd(link, addr)
}

// NewMAC is a random hardware address.
func NewMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac)        // it never fails, or ends the process
	mac[0] = mac[0]&^byte(1) | 2 // one station, of local administration
	return mac
}

// Interfaces are the two ends as a result names them, the host's first.
func (n *Namespaces) Interfaces(p Pair) []*types100.Interface {
	return []*types100.Interface{
		{Name: p.HostName, Mac: p.HostMAC.String(), Mtu: p.MTU},
		{Name: p.Name, Mac: p.MAC.String(), Mtu: p.MTU, Sandbox: n.path},
	}
}
