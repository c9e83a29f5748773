package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"galaxy/eventlog/etcdlog/embedded"
)

// offline is the etcd that galaxy-ipam keeps inside itself, opened while galaxy-ipam is down: after a disaster it is
// where a backup is restored to.
type offline struct {
	dir    string
	server *embedded.Server
}

func (o *offline) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.dir, "embedded-etcd", "",
		"instead of --etcd-endpoints: the directory of galaxy-ipam's embedded etcd, while galaxy-ipam is down")
}

// open runs the etcd in the directory, if one is named, and makes it the one that commands talk to. Only a restore may
// find it empty.
func (g *Globals) open(cmd *cobra.Command) error {
	if g.offline.dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(g.offline.dir, "member")); err != nil && cmd.Name() != "restore" {
		return fmt.Errorf("--embedded-etcd %s: there is no etcd in it: %w", g.offline.dir, err)
	}
	server, err := embedded.Start(embedded.Config{Dir: g.offline.dir, ClientURL: "http://127.0.0.1:0",
		Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("--embedded-etcd %s: %w; is galaxy-ipam still running on it?", g.offline.dir, err)
	}
	g.offline.server = server
	g.Etcd.Endpoints = server.Endpoints()
	return nil
}

// Close ends the etcd that open has started.
func (g *Globals) Close() {
	if g.offline.server != nil {
		g.offline.server.Close()
	}
}
