package apiserver

import (
	"errors"

	"github.com/go-logr/zapr"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"galaxy/cmd/internal/cli"
)

// Optional are the flags of a program that also runs without Kubernetes.
type Optional struct {
	Flags
	Standalone bool
}

// Add defines the flags; usage is that of --standalone.
func (o *Optional) Add(flags *pflag.FlagSet, usage string) {
	o.Flags.Add(flags)
	flags.BoolVar(&o.Standalone, "standalone", false, usage)
}

// Check refuses flags that contradict each other.
func (o *Optional) Check() error {
	if o.Standalone && o.Given() {
		return cli.Usage("--standalone runs without Kubernetes: leave it out, or --kubeconfig and --master")
	}
	return nil
}

// Config is how to reach the API server. What the client has to say goes to the log.
func (o *Optional) Config(log *zap.Logger) (*rest.Config, error) {
	klog.SetLogger(zapr.NewLogger(log.Named("client-go")))
	config, err := o.Flags.Config()
	if errors.Is(err, ErrNone) {
		return nil, cli.Usage("%w, or say --standalone", err)
	}
	return config, err
}
