package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"galaxy/cmd/internal/build"
	"galaxy/cmd/internal/cli"
	"galaxy/plugins"
	"galaxy/plugins/builtin"
	"galaxy/plugins/sdn"
)

// entry is what one name stands for.
type entry struct {
	about string
	funcs func(ctx context.Context, stdout, stderr io.Writer) skel.CNIFuncs
}

// entries are all names.
func entries() map[string]entry {
	all := map[string]entry{sdn.Name: {sdn.About, func(ctx context.Context, stdout, _ io.Writer) skel.CNIFuncs {
		return sdn.Relay{Environ: os.Environ(), Stdout: stdout, Patience: sdn.Patience}.Funcs(ctx)
	}}}
	for name, p := range builtin.Plugins() {
		all[name] = entry{p.About, func(ctx context.Context, stdout, stderr io.Writer) skel.CNIFuncs {
			return funcsOf(ctx, p, plugins.Host{Log: logger(stderr)}, stdout)
		}}
	}
	return all
}

// logger writes what is worth to be read to stderr, where runtimes look for it.
func logger(stderr io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(stderr), zapcore.WarnLevel))
}

// run does what the name, or else the first argument, says, and returns the exit code.
func run(ctx context.Context, argv []string, stdout, stderr io.Writer) int {
	all := entries()
	name, args := filepath.Base(argv[0]), argv[1:]
	if _, ok := all[name]; !ok && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if e, ok := all[name]; ok && len(args) == 0 {
		return runPlugin(ctx, name, e, stdout, stderr)
	}
	if _, ok := all[name]; ok {
		name = args[0] // as in galaxy-veth --help
		args = args[1:]
	}
	switch name {
	case "-h", "--help", "help":
		usage(stdout, all)
		return cli.OK
	case "--version", "version":
		_, _ = fmt.Fprintln(stdout, "galaxy-cni:", build.Version())
		return cli.OK
	case "install":
		return installTo(args, all, stdout, stderr)
	}
	if os.Getenv("CNI_COMMAND") != "" { // a runtime reads an object from stdout
		_ = types.NewError(types.ErrInvalidEnvironmentVariables,
			fmt.Sprintf("galaxy-cni was run as %q, which is no plugin", name),
			"run it by the name of a plugin: galaxy-cni install <folder> makes them all").Print()
		return cli.Failure
	}
	usage(stderr, all)
	return cli.Misuse
}

func runPlugin(ctx context.Context, name string, e entry, stdout, stderr io.Writer) int {
	about := fmt.Sprintf("%s (%s)\nA container runtime runs it; galaxy-cni --help says more.", e.about, build.Version())
	funcs := e.funcs(ctx, stdout, stderr) // it has read the environment as it is
	if os.Getenv("CNI_COMMAND") == "DEL" {
		// A path that leads to the host's namespace by now is that of a process which has ended. The library would
		// refuse the DEL, for ever, after it was done; none of ours deletes there what it has not made.
		_ = os.Setenv("CNI_NETNS_OVERRIDE", "true") // the name and the value are good
	}
	if err := skel.PluginMainFuncsWithError(funcs, version.All, about); err != nil {
		if printErr := err.Print(); printErr != nil {
			_, _ = fmt.Fprintf(stderr, "%s: %v; and to print it: %v\n", name, err, printErr)
		}
		return cli.Failure
	}
	return cli.OK
}

// funcsOf makes a plugin fit the form of the CNI library; results are printed in the version that the configuration
// asks for.
func funcsOf(ctx context.Context, p plugins.Plugin, host plugins.Host, stdout io.Writer) skel.CNIFuncs {
	plain := func(f func(context.Context, plugins.Host, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
		if f == nil {
			return nil
		}
		return func(args *skel.CmdArgs) error { return f(ctx, host, args) }
	}
	return skel.CNIFuncs{
		Add: func(args *skel.CmdArgs) error {
			result, err := p.Add(ctx, host, args)
			if err != nil {
				return err
			}
			return printResult(result, args.StdinData, stdout)
		},
		Del: plain(p.Del), Check: plain(p.Check), GC: plain(p.GC), Status: plain(p.Status),
	}
}

func printResult(result types.Result, conf []byte, stdout io.Writer) error {
	wanted, err := (&version.ConfigDecoder{}).Decode(conf)
	if err != nil {
		return plugins.Errorf(types.ErrDecodingFailure, "read the version of the configuration: %w", err)
	}
	converted, err := result.GetAsVersion(wanted)
	if err != nil {
		return plugins.Errorf(types.ErrIncompatibleCNIVersion, "say the result in version %s: %w", wanted, err)
	}
	return converted.PrintTo(stdout)
}

func installTo(args []string, all map[string]entry, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		_, _ = fmt.Fprintln(stderr, "galaxy-cni: install wants one folder, as in: galaxy-cni install /opt/cni/bin")
		return cli.Misuse
	}
	self, err := os.Executable()
	if err == nil {
		err = install(self, args[0], slices.Sorted(maps.Keys(all)))
	}
	var missing []string
	if err == nil {
		missing, err = installBeside(self, args[0])
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "galaxy-cni:", err)
		return cli.Failure
	}
	_, _ = fmt.Fprintf(stdout, "%d plugins are in %s\n", len(all)+len(beside)-len(missing), args[0])
	if len(missing) > 0 {
		_, _ = fmt.Fprintf(stdout, "not among them, as they are not beside %s: %s\n", self, strings.Join(missing, ", "))
	}
	return cli.OK
}

func usage(w io.Writer, all map[string]entry) {
	_, _ = fmt.Fprint(w, "galaxy-cni is all CNI plugins of galaxy in one binary. It is the plugin by whose name it is "+
		"run:\n\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		_, _ = fmt.Fprintf(w, "  %-16s %s\n", name, all[name].about)
	}
	_, _ = fmt.Fprint(w, `
A container runtime runs a plugin with CNI_COMMAND and its like in the environment and the configuration on stdin.

  galaxy-cni install <folder>   put the binary and a link for every name into a folder like /opt/cni/bin,
                                with the small galaxy-sdn and the reference's host-local and loopback if they
                                lie beside it
  galaxy-cni <name>             be that plugin
  galaxy-cni --version          say which release this is

`)
	_, _ = fmt.Fprintln(w, "CNI versions:", version.All.SupportedVersions())
}
