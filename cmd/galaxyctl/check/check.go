// Package check is the command check of galaxyctl: it compares the log with the cluster.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"galaxy/cmd/galaxyctl/internal/beside"
	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/apiserver"
	"galaxy/reconciler/mirror"
)

// comparison is the command check.
type comparison struct {
	g       *command.Globals
	api     apiserver.Flags
	repair  bool
	timeout time.Duration
	recent  time.Duration
}

// checked is a difference as it is printed.
type checked struct {
	What   string `json:"what"`
	Remedy string `json:"mend,omitempty"`
	Error  string `json:"fault,omitempty"` // why it could not be repaired
	Done   bool   `json:"mended,omitempty"`
}

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	c := &comparison{g: g}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare the log with the cluster, and repair what differs",
		Long: `Compare what the log says with what the API server says: addresses that are held for pods which
are not there, running pods with addresses that the log does not know they have, addresses that are kept for
workloads which are gone, subnets that are not those of the ConfigMap, and FloatingIP objects that do not show
what the log says.

galaxy-ipam does all this by itself; this command is for those who want to see it, or have no galaxy-ipam that runs. With
--repair it appends the events that repair what differs. That is safe while galaxy-ipam runs: whoever is second decides anew.

Exit code 0: nothing differs, or all was repaired. 1: something differs.`,
		Example: `  galaxyctl check --kubeconfig ~/.kube/config
  galaxyctl check --kubeconfig ~/.kube/config --repair`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	c.api.Add(cmd.Flags())
	cmd.Flags().BoolVar(&c.repair, "repair", false, "append the events that repair what differs")
	cmd.Flags().DurationVar(&c.recent, "recent", recently,
		"how long an object may take to show a change before that is a difference")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 5*time.Minute, "how long to take at most")
	return cmd
}

// recently is the default of --recent: galaxy-ipam writes some 25 objects a second.
const recently = 30 * time.Second

var errDiffers = errors.New("the log and the cluster differ")

func (c *comparison) run(cmd *cobra.Command) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	b, err := beside.Start(ctx, &c.g.Etcd, &c.api, c.repair)
	if err != nil {
		return err
	}
	defer b.End()
	b.Reconciler.KnowKinds(ctx)
	var rows []checked
	for _, d := range b.Reconciler.Check() {
		rows = append(rows, c.carryOut(d.What, d.Remedy, func() error { return b.Reconciler.Repair(ctx, d) }))
	}
	// Objects come after: what was repaired in the log is already shown there.
	shown, recent, err := mirror.Check(ctx, b.Clients.Dynamic, b.Log.View(), time.Now().Add(-c.recent))
	if err != nil && !apierrors.IsNotFound(err) { // a cluster need not have the custom resources
		return err
	}
	for _, d := range shown {
		rows = append(rows, c.carryOut(d.What, d.Remedy, func() error { return d.Repair(ctx, b.Clients.Dynamic) }))
	}
	open := 0
	for _, row := range rows {
		if !row.Done {
			open++
		}
	}
	if err := printChecked(cmd.OutOrStdout(), c.g.Output, rows, open, recent, c.recent); err != nil {
		return err
	}
	if open > 0 {
		return errDiffers
	}
	return nil
}

// carryOut does what repairs a difference, if that is wanted.
func (c *comparison) carryOut(what, how string, repair func() error) checked {
	row := checked{What: what, Remedy: how}
	if !c.repair || how == "" {
		return row
	}
	if err := repair(); err != nil {
		row.Error = err.Error()
	} else {
		row.Done = true
	}
	return row
}

func printChecked(out io.Writer, f output.Format, rows []checked, open, recent int, within time.Duration) error {
	if f != output.AsTable {
		return f.Document(out, rows)
	}
	t := output.NewTable(out, "DIFFERENCE", "WHAT MENDS IT", "STATE")
	for _, row := range rows {
		state := "open"
		switch {
		case row.Done:
			state = "repaired"
		case row.Error != "":
			state = "failed: " + row.Error
		}
		t.Add(row.What, row.Remedy, state)
	}
	if len(rows) > 0 {
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if recent > 0 {
		if _, err := fmt.Fprintf(out, "\n%d addresses have changed within %s, and their objects are about to show it\n",
			recent, within); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%d differences, %d open\n", len(rows), open)
	return err
}
