// Package certs is the command certs of galaxyctl: it makes the certificates of galaxy's parts.
package certs

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/certs"
	"galaxy/cmd/internal/cli"
	"galaxy/durable"
)

// certsResponse is what certs make has done.
type certsResponse struct {
	Dir     string       `json:"dir"`
	Files   []certs.File `json:"files"`
	Secrets string       `json:"secrets"` // the manifest
}

const secretsFile = "secrets.yaml"

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	cmd := command.Group(&cobra.Command{
		Use: "certs", Short: "Certificates for galaxy-ipam, for kube-scheduler, and for the members of an embedded etcd",
		Long: "Make and renew the certificates that the manifests in deploy/ want. Whoever has an issuer of their " +
			"own (cert-manager, for one) makes Secrets of the same names with it instead.",
		Example: "  galaxyctl certs make ./galaxy-certs",
	})
	w := certs.Wanted{}
	days := int(certs.DefaultLife / (24 * time.Hour))
	run := &cobra.Command{
		Use:   "make DIR",
		Short: "Make certificates in a folder, or renew those that are there",
		Long: `Make certificates in a folder: an authority for galaxy-ipam's ports with the certificates of
galaxy-ipam and kube-scheduler, and another authority for the members of an embedded etcd. ` +
			secretsFile + ` has the Secrets that the manifests name; ca.crt, scheduler.crt and
scheduler.key are for kube-scheduler's hosts. The authorities' keys, ca.key and members-ca.key, are for
nobody else: keep the folder.

Run it again to renew: what has more than a third of its life before it stays, and files that cannot be
understood are not touched. galaxy-ipam reads a Secret that has changed by itself. Authorities live for ten years.`,
		Example: `  galaxyctl certs make ./galaxy-certs
  galaxyctl certs make ./galaxy-certs --host 192.0.2.10 --days 90
  galaxyctl certs make ./galaxy-certs --renew`,
		Args: command.Takes("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 1 || days > 3650 {
				return cli.Usage("--days %d: want 1 to 3650", days)
			}
			w.Life = time.Duration(days) * 24 * time.Hour
			return makeCerts(cmd, g.Output, args[0], w)
		},
	}
	run.Flags().StringVar(&w.Namespace, "galaxy-namespace", "kube-system", "namespace of galaxy-ipam")
	run.Flags().StringSliceVar(&w.Hosts, "host", nil,
		"a further DNS name or address under which galaxy-ipam is reached; names of its Service and of this host are "+
			"there already")
	run.Flags().IntVar(&days, "days", days, "how long certificates are good for; renew them in the last third of it")
	run.Flags().BoolVar(&w.Renew, "renew", false, "make those anew, too, that are still good")
	cmd.AddCommand(run)
	return cmd
}

func makeCerts(cmd *cobra.Command, f output.Format, dir string, w certs.Wanted) error {
	files, err := certs.Make(dir, w, time.Now())
	if err != nil {
		return err
	}
	text, err := certs.Secrets(dir, w.Namespace)
	if err != nil {
		return err
	}
	response := certsResponse{dir, files, filepath.Join(dir, secretsFile)}
	if err := durable.WriteFile(response.Secrets, text, 0o600); err != nil {
		return err
	}
	if f != output.AsTable {
		return f.Document(cmd.OutOrStdout(), response)
	}
	t := output.NewTable(cmd.OutOrStdout(), "FILE", "FOR", "EXPIRES", "DONE")
	for _, f := range files {
		t.Add(f.Name+".crt", f.Use, f.Expires.UTC().Format(time.DateOnly), f.Done)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "now: kubectl apply -f %s, and bring ca.crt, scheduler.crt and "+
		"scheduler.key to the hosts of kube-scheduler\n", response.Secrets)
	return err
}
