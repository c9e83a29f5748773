// Package command is what all commands of galaxyctl have: the flags that say where etcd and galaxy-ipam are and how to
// print, and how arguments are checked.
package command

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/galaxyctl/internal/rest"
	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/etcdclient"
	"galaxy/projections"
)

// Globals are the flags that every command has.
type Globals struct {
	Etcd    etcdclient.Flags
	Output  output.Format
	server  rest.Flags
	offline offline
}

// Add defines the flags on the root of all commands. Close is to be called when the command has run.
func (g *Globals) Add(root *cobra.Command) {
	flags := root.PersistentFlags()
	g.Etcd.Add(flags)
	g.offline.add(flags)
	g.server.Add(flags)
	g.Output = output.AsTable
	g.Output.Add(flags)
	Complete(root, output.Flag, output.Words()...)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return g.open(cmd) }
}

// Dial makes a client of galaxy-ipam's REST port, and asks nothing yet.
func (g *Globals) Dial() (*rest.Server, error) { return g.server.Dial() }

// Group makes a command that only has commands under it: without one it shows its help, and a wrong one is an error.
func Group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return cli.Usage("%s has no command %q; is it %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
		}
		return cli.Usage("%s has no command %q", cmd.CommandPath(), args[0])
	}
	return c
}

// Takes says which arguments a command has, as in its usage: exactly these, or with "..." at least these.
func Takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		open := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		switch {
		case len(args) < len(names):
			return cli.Usage("%s: %s is missing", cmd.CommandPath(), strings.TrimSuffix(names[len(args)], "..."))
		case len(args) > len(names) && !open:
			return tooMany(cmd, args[len(names)])
		default:
			return nil
		}
	}
}

// MayTake is Takes for a command with one argument that may be left out.
func MayTake(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return tooMany(cmd, args[1])
	}
	return nil
}

func tooMany(cmd *cobra.Command, arg string) error {
	return cli.Usage("%s: %q is one argument too many", cmd.CommandPath(), arg)
}

// Complete is what the shell asks for: what a flag may be.
func Complete(cmd *cobra.Command, flag string, words ...string) {
	fixed := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // there is no such flag: a mistake in this program, which every test would find
	}
}

// ParsePoint reads the flag --at: a sequence number or a time; "" is now.
func ParsePoint(text string) (projections.Until, error) {
	if text == "" {
		return projections.Until{}, nil
	}
	if seq, err := strconv.ParseUint(text, 10, 64); err == nil && seq > 0 {
		return projections.Until{Seq: seq}, nil
	}
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return projections.Until{}, cli.Usage("--at %q is neither the sequence number of an event nor a time such as "+
			"2026-11-23T09:00:00Z", text)
	}
	return projections.Until{Time: when}, nil
}
