package cli_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"galaxy/cmd/internal/cli"
)

func TestExitCode(t *testing.T) {
	inner := errors.New("inner")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, cli.OK},
		{inner, cli.Failure},
		{cli.Usage("--flag: %w", inner), cli.Misuse},
		{fmt.Errorf("outer: %w", cli.Usage("--flag")), cli.Misuse},
	} {
		if got := cli.ExitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	if err := cli.Usage("--flag: %w", inner); !errors.Is(err, inner) || err.Error() != "--flag: inner" {
		t.Errorf("%v does not wrap its cause", err)
	}
}

// options are those of a program that only logs.
type options struct {
	logging cli.Logging
	name    string
}

func (o *options) Add(flags *pflag.FlagSet) {
	o.logging.Add(flags)
	flags.StringVar(&o.name, "some-name", "", "")
	flags.Bool("former", false, "")
	cli.Deprecate(flags, "former", "it has no effect")
}

func (o *options) Check() error { return o.logging.Check() }

func TestDaemon(t *testing.T) {
	for args, want := range map[string]struct {
		ran        bool
		code       int
		name, says string
	}{
		"":                                   {ran: true},
		"--some_name=a":                      {ran: true, name: "a"},
		"--former --some-name a":             {ran: true, name: "a", says: "it has no effect"},
		"--version":                          {says: "commit"},
		"extra":                              {code: cli.Misuse},
		"--nonsense":                         {code: cli.Misuse},
		"--log-format xml":                   {code: cli.Misuse},
		"--log-format xml --version":         {says: "commit"},
		"--log-format console -v 4 --former": {ran: true, says: "it has no effect"},
	} {
		var o options
		var out strings.Builder
		ran := false
		cmd := cli.Daemon(&cobra.Command{Use: "program"}, &o, func(context.Context) error {
			ran = true
			return nil
		})
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		err := cmd.ExecuteContext(t.Context())
		if cli.ExitCode(err) != want.code || ran != want.ran || o.name != want.name ||
			!strings.Contains(out.String(), want.says) {
			t.Errorf("%q: %v, ran %t, name %q, said %q", args, err, ran, o.name, out.String())
		}
	}
}

// No line is lost because many are like it.
func TestLogging(t *testing.T) {
	for verbosity, debug := range map[int]bool{0: false, 3: false, 4: true} {
		for _, format := range []string{"json", "console"} {
			log, err := (&cli.Logging{Verbosity: verbosity, Format: format}).New()
			if err != nil {
				t.Fatal(err)
			}
			if got := log.Core().Enabled(zap.DebugLevel); got != debug {
				t.Errorf("-v %d: debug is %t, want %t", verbosity, got, debug)
			}
			for range 1000 {
				if log.Check(zap.InfoLevel, "again") == nil {
					t.Fatalf("--log-format %s: a line is left out", format)
				}
			}
		}
	}
}
