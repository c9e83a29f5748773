//go:build linux

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netns"
)

// Forwarding lets packets from and to pods through where the host's own firewall drops what no rule accepts, as Docker
// and ufw set the policy of iptables' chain FORWARD to DROP. An accept in a table of ours would not help: in netfilter
// a drop in one base chain is final, whatever the others say (nft(8), "verdict statements"). So the rules stand in that
// very chain, first, with a comment that says whose they are; where its policy accepts there are none.
type Forwarding struct {
	ns netns.NsHandle
}

// OpenForwarding opens a namespace; netns.None() is the one of the caller. It needs the program nft, see ErrNoNFT.
func OpenForwarding(ns netns.NsHandle) *Forwarding { return &Forwarding{ns: ns} }

// forwardComment marks our rules.
const forwardComment = "galaxy: pods"

// ForwardReport is what a Set found and did.
type ForwardReport struct {
	Added, Removed int
	Blocked        []string // chains that drop what no rule accepts, and that are nobody's to change but their owner's
}

// nftObject is one entry of nft's JSON (libnftables-json(5)).
type nftObject struct {
	Chain *nftChain `json:"chain"`
	Rule  *struct {
		Handle  int             `json:"handle"`
		Comment string          `json:"comment"`
		Expr    json.RawMessage `json:"expr"`
	} `json:"rule"`
}

type nftChain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hook   string `json:"hook"`
	Policy string `json:"policy"`
}

func (c nftChain) String() string { return c.Family + " " + c.Table + " " + c.Name }

// Set makes the rules those of the overlays, and reports which chains it cannot get past.
func (f *Forwarding) Set(ctx context.Context, overlays []netip.Prefix) (report ForwardReport, err error) {
	err = inside(f.ns, func() error {
		objects, err := f.list(ctx, "chains")
		if err != nil {
			return fmt.Errorf("list the chains of nftables: %w", err)
		}
		var failed []error
		for _, o := range objects {
			c := o.Chain
			switch {
			case c == nil || c.Hook != "forward" || c.Type != "filter" || c.Table == MasqueradeTable:
			case c.isIPTables():
				failed = append(failed, f.setChain(ctx, *c, overlays, &report))
			case c.Policy == "drop" && len(overlays) > 0 && c.sees(overlays):
				report.Blocked = append(report.Blocked, c.String())
			}
		}
		return errors.Join(failed...)
	})
	return report, err
}

// isIPTables reports whether a chain is iptables' FORWARD, which all that manage a host's firewall through iptables
// share.
func (c nftChain) isIPTables() bool {
	return (c.Family == "ip" || c.Family == "ip6") && c.Table == "filter" && c.Name == "FORWARD"
}

// sees reports whether packets of some overlay pass a chain.
func (c nftChain) sees(overlays []netip.Prefix) bool {
	return slices.ContainsFunc(overlays, func(p netip.Prefix) bool {
		return c.Family == "inet" || c.Family == "ip" && p.Addr().Is4() || c.Family == "ip6" && p.Addr().Is6()
	})
}

func (f *Forwarding) setChain(ctx context.Context, c nftChain, overlays []netip.Prefix, report *ForwardReport) error {
	objects, err := f.list(ctx, "chain", c.Family, c.Table, c.Name)
	if err != nil {
		return fmt.Errorf("list the rules of chain %s: %w", c, err)
	}
	wanted := map[string]bool{} // by what nft shows of the rule
	if c.Policy == "drop" {
		for _, p := range overlays {
			if (c.Family == "ip") == p.Addr().Is4() {
				wanted["saddr "+p.Masked().String()], wanted["daddr "+p.Masked().String()] = true, true
			}
		}
	}
	var script bytes.Buffer
	for _, o := range objects {
		if o.Rule == nil || o.Rule.Comment != forwardComment {
			continue
		}
		if match, ok := matchOf(o.Rule.Expr); ok && wanted[match] {
			delete(wanted, match) // there, and a second of it is one too many
			continue
		}
		fmt.Fprintf(&script, "delete rule %s handle %d\n", c, o.Rule.Handle)
		report.Removed++
	}
	missing := make([]string, 0, len(wanted))
	for match := range wanted {
		missing = append(missing, match)
	}
	slices.Sort(missing)
	for _, match := range missing {
		fmt.Fprintf(&script, "insert rule %s %s %s accept comment %q\n", c, c.Family, match, forwardComment)
		report.Added++
	}
	if script.Len() == 0 {
		return nil
	}
	if _, err := runNFT(ctx, script.String(), "--file", "-"); err != nil {
		return fmt.Errorf("let packets of pods through chain %s: %w", c, err)
	}
	return nil
}

// matchOf is what a rule of ours matches, as "saddr 10.244.0.0/16".
func matchOf(expr json.RawMessage) (string, bool) {
	var parts []struct {
		Match *struct {
			Left struct {
				Payload struct {
					Field string `json:"field"`
				} `json:"payload"`
			} `json:"left"`
			Right struct {
				Prefix struct {
					Addr string `json:"addr"`
					Len  int    `json:"len"`
				} `json:"prefix"`
			} `json:"right"`
		} `json:"match"`
	}
	if json.Unmarshal(expr, &parts) != nil || len(parts) == 0 || parts[0].Match == nil {
		return "", false
	}
	m := parts[0].Match
	return fmt.Sprintf("%s %s/%d", m.Left.Payload.Field, m.Right.Prefix.Addr, m.Right.Prefix.Len), true
}

func (f *Forwarding) list(ctx context.Context, what ...string) ([]nftObject, error) {
	out, err := runNFT(ctx, "", append([]string{"--json", "--handle", "list"}, what...)...)
	if err != nil {
		return nil, err
	}
	var found struct {
		NFTables []nftObject `json:"nftables"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("what nft prints is not understood: %w", err)
	}
	return found.NFTables, nil
}

// runNFT runs nft, and gives what it prints.
func runNFT(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "nft", args...)
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr, c.WaitDelay = &out, &errs, outputDelay
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}
