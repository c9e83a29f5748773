// Package apiserver is how the commands reach the API server of a cluster.
package apiserver

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Flags say where the API server is.
type Flags struct {
	Kubeconfig string
	Master     string
}

// Add defines the flags.
func (f *Flags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.Kubeconfig, "kubeconfig", "",
		"file that says where the API server is; without it, that of the cluster whose pod this process runs in")
	flags.StringVar(&f.Master, "master", "", "URL of the API server, instead of that in --kubeconfig")
}

// Given reports whether one of the flags is.
func (f *Flags) Given() bool { return f.Kubeconfig != "" || f.Master != "" }

// ErrNone means that no flag says where the API server is, and that this is no pod of a cluster.
var ErrNone = errors.New("there is no API server, as this is no pod of a cluster: give --kubeconfig")

// Config is how to reach the API server.
func (f *Flags) Config() (*rest.Config, error) {
	if !f.Given() {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, ErrNone
		}
		return config, err
	}
	config, err := clientcmd.BuildConfigFromFlags(f.Master, f.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s, --master %s: %w", f.Kubeconfig, f.Master, err)
	}
	return config, nil
}
