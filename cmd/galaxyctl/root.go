package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/certs"
	"galaxy/cmd/galaxyctl/check"
	"galaxy/cmd/galaxyctl/config"
	"galaxy/cmd/galaxyctl/etcdauth"
	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/ip"
	"galaxy/cmd/galaxyctl/log"
	"galaxy/cmd/galaxyctl/migrate"
	"galaxy/cmd/galaxyctl/node"
	"galaxy/cmd/galaxyctl/pool"
	"galaxy/cmd/galaxyctl/status"
	"galaxy/cmd/galaxyctl/version"
	"galaxy/cmd/internal/cli"
)

// run is the whole program, and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	g := &command.Globals{}
	defer g.Close()
	root := newRoot(g)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	called, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
	case cli.IsUsage(err):
		_, _ = fmt.Fprintf(errs, "error: %s\nSee '%s --help'.\n", cli.Printable(err.Error()), called.CommandPath())
	case ctx.Err() != nil:
		_, _ = fmt.Fprintln(errs, "error: interrupted")
	default:
		_, _ = fmt.Fprintf(errs, "error: %s\n", cli.Printable(err.Error()))
	}
	return cli.ExitCode(err)
}

func newRoot(g *command.Globals) *cobra.Command {
	root := command.Group(&cobra.Command{
		Use:   "galaxyctl",
		Short: "Read Galaxy's log, and ask for addresses and pools",
		Long: `galaxyctl reads Galaxy's log in etcd and asks galaxy-ipam for addresses and pools.

The commands under "log" need only etcd: they work while galaxy-ipam is down. "status" and the commands under
"ip" and "pool" talk to galaxy-ipam. Tables are for people; -o json and -o yaml are for programs.

Exit codes: 0 all is well, 1 what was asked for failed or was found to be wrong, 2 the command line is wrong.`,
		Example: `  galaxyctl status
  galaxyctl ip list --namespace default
  galaxyctl ip history 10.0.0.2
  galaxyctl log show --address 10.0.0.2
  galaxyctl log verify`,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return cli.Usage("%w", err) })
	g.Add(root)
	root.AddCommand(log.New(g), ip.New(g), pool.New(g), status.New(g), check.New(g), migrate.New(g), config.New(g),
		node.New(g),
		etcdauth.New(g), certs.New(g), version.New(g))
	refuseArguments(root)
	return root
}

// refuseArguments makes an argument too many of the commands that print completions a usage error as everywhere else.
func refuseArguments(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			for _, shell := range c.Commands() {
				shell.Args = command.Takes()
			}
		}
	}
}
