package allocator

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"galaxy/eventlog"
	"galaxy/ipam"
)

func nodeEventText(data eventlog.Data) string {
	switch d := data.(type) {
	case *eventlog.OverlayConfigured:
		text := ""
		for _, n := range d.Networks {
			text += fmt.Sprintf(" %s/%d", n.CIDR, n.NodePrefix)
		}
		return text
	case *eventlog.NodeJoined:
		return fmt.Sprintf(" %s at %v of %s after %d", d.Node, d.Addresses, d.Machine, d.After)
	case *eventlog.NodeAddressChanged:
		return fmt.Sprintf(" %s to %v after %d", d.Node, d.Addresses, d.After)
	case *eventlog.NodeLost:
		return fmt.Sprintf(" %s (%s) after %d", d.Node, d.Reason, d.After)
	case *eventlog.NodeSubnetAssigned:
		return fmt.Sprintf(" %s to %s after %d", d.Subnet, d.Node, d.After)
	case *eventlog.NodeSubnetReleased:
		return fmt.Sprintf(" %s by %s (%s) after %d", d.Subnet, d.Node, d.Reason, d.After)
	case *eventlog.NodeForgotten:
		return fmt.Sprintf(" %s (%s) after %d", d.Node, d.Reason, d.After)
	default:
		return ""
	}
}

// playNodes plays the commands of the overlay.
func (w *harness) playNodes(_ *testing.T, d *datadriven.TestData, args map[string]string) (text string, known bool) {
	switch d.Cmd {
	case "overlay":
		networks, err := ipam.ParseOverlay([]byte(d.Input))
		if err != nil {
			return "error: " + err.Error() + "\n", true
		}
		return w.respond(ConfigureOverlay{Source: "test", Networks: networks}), true
	case "join":
		var addresses []netip.Addr
		for ip := range strings.SplitSeq(args["ip"], ",") {
			addresses = append(addresses, netip.MustParseAddr(ip))
		}
		machine := args["machine"]
		if machine == "" {
			machine = "m-" + args["node"]
		}
		text, result, err := w.do(JoinNode{Node: args["node"], Addresses: addresses, Machine: machine})
		if len(result.Missing) > 0 {
			text += fmt.Sprintf("no %s subnet is left\n", strings.Join(result.Missing, ", "))
		}
		return orError(text, err), true
	case "lose":
		return w.respond(LoseNode{Node: args["node"], Reason: "leaseEnded"}), true
	case "leave":
		return w.respond(ReleaseNode{Node: args["node"], Reason: "nodeDeleted"}), true
	case "nodes":
		return w.nodesText(), true
	case "subnets":
		var subnets []ipam.Subnet
		for _, arg := range d.CmdArgs {
			subnets = append(subnets, ipam.NodePool(netip.MustParsePrefix(arg.Key)))
		}
		return w.respond(Configure{Source: "nodes", Subnets: subnets, Force: true}), true
	case "attach":
		name := args["if"]
		if name == "" {
			name = "eth0"
		}
		o := ipam.Owner{Namespace: "ns1", Pod: args["pod"]}
		return w.respond(Attach{Owner: o, PodUID: "u-" + args["pod"], Node: "n1", ContainerID: args["container"],
			IfName: name}), true
	case "detach":
		return w.respond(Detach{ContainerID: args["container"], IfName: args["if"], Reason: ReasonDetached}), true
	default:
		return "", false
	}
}

func (w *harness) nodesText() string {
	text := ""
	for n := range w.view().Nodes() {
		text += fmt.Sprintf("%s at %v has %v", n.Name, n.Addresses, n.Subnets)
		if !n.Alive() {
			text += " lost: " + n.Reason
		}
		text += "\n"
	}
	for i, n := range w.view().Overlay().Networks {
		total, used := w.view().NodeSubnetUsage(i)
		text += fmt.Sprintf("%s: %d of %d used\n", n.CIDR, used, total)
	}
	return text
}
