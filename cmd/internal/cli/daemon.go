package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"galaxy/cmd/internal/build"
)

// Options are the flags of a program.
type Options interface {
	Add(*pflag.FlagSet)
	Check() error // completes them, and refuses what makes no sense: a UsageError
}

// Daemon makes the command of a program that takes flags and no arguments, and runs until its context ends. It has
// --version, and understands flags with underscores, as the contract's may be written.
func Daemon(cmd *cobra.Command, o Options, run func(context.Context) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	o.Add(flags)
	version := flags.Bool("version", false, "say which release this is")
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command,
		err error) error {
		return Usage("%w; see %s --help", err, cmd.Name())
	})
	cmd.Args = NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), build.Version())
			return err
		}
		if err := o.Check(); err != nil {
			return err
		}
		return run(cmd.Context())
	}
	return cmd
}

// NoArgs refuses arguments.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage("%q: %s takes flags and no arguments; see %s --help", args[0], cmd.Name(), cmd.Name())
	}
	return nil
}

// Deprecate marks a flag that is there: it is taken as before, the help leaves it out, and whoever gives it is warned
// why.
func Deprecate(flags *pflag.FlagSet, name, why string) {
	if err := flags.MarkDeprecated(name, why); err != nil {
		panic(err) // there is no such flag: a mistake in the program, which every test would find
	}
}
