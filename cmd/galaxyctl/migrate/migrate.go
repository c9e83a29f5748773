// Package migrate is the command migrate of galaxyctl: it takes over what a former system has left.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"galaxy/allocator"
	"galaxy/cmd/galaxyctl/internal/beside"
	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/apiserver"
	"galaxy/cmd/internal/cli"
	"galaxy/ipam"
	"galaxy/migrations/galaxy"
	"galaxy/projections"
	"galaxy/reconciler"
)

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	cmd := command.Group(&cobra.Command{
		Use:   "migrate",
		Short: "Take over what a former system has left",
		Long: `Take over what a former system has left, so that pods keep their addresses. While galaxy-ipam
finds objects of a former system and a log that knows nothing of them, it gives nothing out and touches none
of them: it waits for one of these.`,
		Example: "  galaxyctl migrate galaxy --dry-run --kubeconfig ~/.kube/config",
	})
	cmd.AddCommand(newGalaxy(g))
	return cmd
}

// takeover is the command migrate galaxy.
type takeover struct {
	g                      *command.Globals
	api                    apiserver.Flags
	dryRun, apply, discard bool
	from                   string
	pools                  []string
	timeout                time.Duration
}

func newGalaxy(g *command.Globals) *cobra.Command {
	t := &takeover{g: g}
	cmd := &cobra.Command{
		Use:   "galaxy --dry-run | --apply | --discard",
		Short: "Take over the FloatingIP and Pool objects of TKEStack's Galaxy",
		Long: `Take over the FloatingIP and Pool objects that TKEStack's Galaxy, up to 1.0.8, has left: the
addresses of running pods, those that are kept for pods, apps and pools, reservations by label, and pools. The
subnets are those of the ConfigMap kube-system/floatingip-config; they are put in force if they are not yet.

  --dry-run   prints what would become of each object, and why; nothing is changed
  --apply     appends the events; what cannot be taken over is left as it is, and named. It may be cut and repeated
  --discard   says that the objects mean nothing any more: addresses that no running pod has become free, and galaxy-ipam
              deletes the objects

Before it, "kubectl get floatingips,pools -A -o yaml > saved.yaml" keeps the way back. The log must be reached
by the same --etcd-* flags as for galaxy-ipam, which may run meanwhile.

Exit code 0: all was taken over, or would be. 1: something is left, or failed.`,
		Example: `  galaxyctl migrate galaxy --dry-run --kubeconfig ~/.kube/config
  galaxyctl migrate galaxy --apply --kubeconfig ~/.kube/config
  galaxyctl migrate galaxy --apply --kubeconfig ~/.kube/config --from saved.yaml`,
		Args: command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd) },
	}
	t.api.Add(cmd.Flags())
	cmd.Flags().BoolVar(&t.dryRun, "dry-run", false, "print the plan")
	cmd.Flags().BoolVar(&t.apply, "apply", false, "carry the plan out")
	cmd.Flags().BoolVar(&t.discard, "discard", false, "the objects mean nothing any more")
	cmd.Flags().StringVar(&t.from, "from", "",
		"file with the objects, as kubectl get -o yaml writes them, instead of those in the cluster; a "+
			"floatingip-config in it counts, too")
	cmd.Flags().StringSliceVar(&t.pools, "pool-namespaces", []string{"kube-system"},
		"namespaces in which Pool objects count, as for galaxy-ipam")
	cmd.Flags().DurationVar(&t.timeout, "timeout", 10*time.Minute, "how long to take at most")
	return cmd
}

func (t *takeover) run(cmd *cobra.Command) error {
	chosen := 0
	for _, choice := range []bool{t.dryRun, t.apply, t.discard} {
		if choice {
			chosen++
		}
	}
	if chosen != 1 {
		return cli.Usage("say one of --dry-run, --apply and --discard")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
	defer cancel()
	b, err := beside.Start(ctx, &t.g.Etcd, &t.api, !t.dryRun)
	if err != nil {
		return err
	}
	defer b.End()
	objects, err := t.read(ctx, b)
	if err != nil {
		return err
	}
	if t.discard {
		return t.discardAll(ctx, cmd.OutOrStdout(), b, objects)
	}
	view, err := t.configured(ctx, b, objects)
	if err != nil {
		return err
	}
	plan := galaxy.Decide(objects, view, b.Cluster.Set(), t.pools)
	if t.apply {
		if plan, err = galaxy.Apply(ctx, b.Log, plan, t.progress(cmd.ErrOrStderr())); err != nil {
			return errors.Join(printPlan(cmd.OutOrStdout(), t.g.Output, plan, false),
				fmt.Errorf("%w; what was taken over by now stays: repeat the command", err))
		}
	}
	if err := printPlan(cmd.OutOrStdout(), t.g.Output, plan, t.apply); err != nil {
		return err
	}
	if left := plan.Count(galaxy.Leave); left > 0 {
		return fmt.Errorf("%d objects are not taken over; they are left as they are", left)
	}
	return nil
}

func (t *takeover) read(ctx context.Context, b *beside.Replica) (galaxy.Objects, error) {
	if t.from == "" {
		return galaxy.Read(ctx, b.Clients.Dynamic)
	}
	text, err := os.ReadFile(t.from)
	if err != nil {
		return galaxy.Objects{}, fmt.Errorf("--from: %w", err)
	}
	objects, err := galaxy.Parse(text)
	if err != nil {
		return objects, fmt.Errorf("--from %s: %w", t.from, err)
	}
	return objects, nil
}

// configured is the state with subnets in force: they are put in force if none are; a dry run only supposes it.
func (t *takeover) configured(ctx context.Context, b *beside.Replica,
	objects galaxy.Objects) (*projections.View, error) {
	if view := b.Log.View(); view.Config().Seq > 0 {
		return view, nil
	}
	rules := reconciler.DefaultRules()
	source := fmt.Sprintf("ConfigMap %s/%s", rules.ConfigNamespace, rules.ConfigName)
	text, ok := objects.ConfigText(rules.ConfigNamespace, rules.ConfigName, rules.ConfigKey)
	if !ok {
		data, _ := b.Cluster.Set().ConfigMap(rules.ConfigNamespace, rules.ConfigName)
		if text, ok = data[rules.ConfigKey]; !ok {
			return nil, fmt.Errorf("%s with the key %s is not there: without subnets nothing can be taken over", source,
				rules.ConfigKey)
		}
	}
	subnets, err := ipam.ParseConfig([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; see galaxyctl config check", source, err)
	}
	if t.dryRun {
		return galaxy.Preview(source, subnets)
	}
	if _, err := b.Log.Do(ctx, "migrate "+galaxy.Source,
		allocator.Configure{Source: source, Subnets: subnets}); err != nil {
		return nil, err
	}
	return b.Log.View(), nil
}

func (t *takeover) discardAll(ctx context.Context, out io.Writer, b *beside.Replica, objects galaxy.Objects) error {
	n := objects.Former(true)
	if err := galaxy.Discard(ctx, b.Log, n); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d objects are discarded: galaxy-ipam deletes those whose address no running pod has\n",
		n)
	return err
}

// progress shows on standard error how far a long import is.
func (t *takeover) progress(out io.Writer) func(done, of int) {
	next := time.Now().Add(time.Second)
	return func(done, of int) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			_, _ = fmt.Fprintf(out, "%d of %d taken over\n", done, of)
		}
	}
}

func printPlan(out io.Writer, f output.Format, plan galaxy.Plan, carriedOut bool) error {
	if f != output.AsTable {
		return f.Document(out, plan)
	}
	if len(plan.Items) > 0 {
		table := output.NewTable(out, "KIND", "NAME", "KEY", "POLICY", "STATE", "VERDICT", "WHY")
		for _, item := range plan.Items {
			table.Add(item.Kind, item.Name, item.Key, item.Policy, item.State, string(item.Verdict), item.Why)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	was := "would be taken over"
	if carriedOut {
		was = "taken over"
	}
	_, err := fmt.Fprintf(out, "\n%d %s, %d known already, %d left\n", plan.Count(galaxy.Take), was,
		plan.Count(galaxy.Known), plan.Count(galaxy.Leave))
	return err
}
