package cli

import (
	"fmt"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// Logging is how a program logs, on standard error.
type Logging struct {
	Verbosity int
	Format    string
}

// The forms of a line of the log.
const (
	logJSON    = "json"
	logConsole = "console"
)

// developers is the verbosity from which on also what is only of use to developers is logged.
const developers = 4

// Add defines the flags.
func (l *Logging) Add(flags *pflag.FlagSet) {
	flags.IntVarP(&l.Verbosity, "v", "v", 0, "4 and above also logs what is only of use to developers")
	flags.StringVar(&l.Format, "log-format", logJSON, "json or console")
}

// Check refuses a format that is none.
func (l *Logging) Check() error {
	if l.Format != logJSON && l.Format != logConsole {
		return Usage("--log-format %q: want json or console", l.Format)
	}
	return nil
}

// New makes the logger. Every line is written: none is left out because many are like it, and none has a stack trace.
func (l *Logging) New() (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	if l.Format == logConsole {
		config = zap.NewDevelopmentConfig()
	}
	config.DisableStacktrace = true
	config.Sampling = nil
	config.Level = zap.NewAtomicLevelAt(zap.InfoLevel)
	if l.Verbosity >= developers {
		config.Level.SetLevel(zap.DebugLevel)
	}
	logger, err := config.Build()
	if err != nil {
		return nil, fmt.Errorf("logger: %w", err)
	}
	return logger, nil
}
