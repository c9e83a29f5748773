package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"galaxy/cmd/internal/etcdclient"
)

// The exit codes.
const (
	exitOK     = 0
	exitFault  = 1 // what was asked for failed, or was found to be wrong
	exitMisuse = 2 // the command line cannot be understood
)

// run is the whole program, and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	g := &globals{output: formatTable}
	defer g.close()
	root := newRoot(g)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var ours *usageError
	var etcds *etcdclient.MisuseError
	if errors.As(err, &ours) || errors.As(err, &etcds) {
		_, _ = fmt.Fprintf(errs, "error: %v\nSee '%s --help'.\n", err, called.CommandPath())
		return exitMisuse
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	_, _ = fmt.Fprintf(errs, "error: %v\n", err)
	return exitFault
}

// usageError is a command line that cannot be understood.
type usageError struct{ why string }

func (e *usageError) Error() string { return e.why }

func misuse(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// globals are the flags that every command has.
type globals struct {
	etcd    etcdclient.Flags
	offline offline
	server  string
	rest    identity
	output  format
}

func newRoot(g *globals) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "galaxyctl",
		Short: "Read Galaxy's log, and ask for addresses and pools",
		Long: `galaxyctl reads Galaxy's log in etcd and asks galaxy-ipam for addresses and pools.

The commands under "log" need only etcd: they work while galaxy-ipam is down. "status" and the commands under "ip" and "pool"
talk to galaxy-ipam. Tables are for people; -o json and -o yaml are for programs.

Exit codes: 0 all is well, 1 what was asked for failed or was found to be wrong, 2 the command line is wrong.`,
		Example: `  galaxyctl status
  galaxyctl ip list --namespace default
  galaxyctl ip history 10.0.0.2
  galaxyctl log show --address 10.0.0.2
  galaxyctl log verify`,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err.Error()} })
	flags := root.PersistentFlags()
	g.etcd.Add(flags)
	flags.StringVar(&g.offline.dir, "embedded-etcd", "", "instead of --etcd-endpoints: the directory of galaxy-ipam's embedded etcd, while galaxy-ipam is down")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return g.open(cmd) }
	flags.StringVar(&g.server, "server", "http://127.0.0.1:9041", "URL of galaxy-ipam's REST port")
	g.rest.add(flags)
	enumFlag(root, flags, (*string)(&g.output), "output", "o", "how to print", formatTable, formatJSON, formatYAML)
	root.AddCommand(newLog(g), newIP(g), newPool(g), newStatus(g), newCheck(g), newMigrate(g), newConfig(g), newNode(g), newEtcdAuth(g), newCerts(g), newVersion(g))
	return root
}

// group makes a command that only has commands under it: without one it shows its help, and a wrong one is an error.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return misuse("%s has no command %q; is it %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
		}
		return misuse("%s has no command %q", cmd.CommandPath(), args[0])
	}
	return c
}

// takes says which arguments a command has, as in its usage: exactly these, or with "..." at least these.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		open := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		switch {
		case len(args) < len(names):
			return misuse("%s: %s is missing", cmd.CommandPath(), strings.TrimSuffix(names[len(args)], "..."))
		case len(args) > len(names) && !open:
			return misuse("%s: %q is one argument too many", cmd.CommandPath(), args[len(names)])
		default:
			return nil
		}
	}
}
