// Package cli is what the programs have in common: how they start and end, their exit codes, and the flags that several
// of them have.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main calls a program with a context that ends with SIGINT or SIGTERM, and ends the process with the exit code that it
// returns.
func Main(program func(context.Context) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := program(ctx)
	stop()
	os.Exit(code)
}

// Report says on standard error, in a line, why a program ends, and returns its exit code. A nil error says nothing.
func Report(program string, err error) int {
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "%s: %s\n", program, Printable(err.Error()))
	}
	return ExitCode(err)
}

// OrHostname is a name that was given, or else that of this host.
func OrHostname(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this host: %w", err)
	}
	return host, nil
}
