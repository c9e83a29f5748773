// Package pool is the command pool of galaxyctl: it asks galaxy-ipam for pools.
package pool

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/galaxyctl/internal/rest"
	"galaxy/cmd/internal/cli"
	"galaxy/extender/api"
)

// pool is a pool as it is printed.
type pool struct {
	api.PoolFields
	Held *int `json:"held,omitempty"`
}

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	group := command.Group(&cobra.Command{
		Use:   "pool",
		Short: "List, size and delete pools",
		Long: `A pool is a name that pods of several apps share their addresses under. A pool with a size
holds at most so many; one without has no limit, and is not listed here.`,
		Example: `  galaxyctl pool list
  galaxyctl pool set blue --size 20 --preallocate
  galaxyctl pool get blue`,
	})
	group.AddCommand(newList(g), newGet(g), newSet(g), newDelete(g))
	return group
}

// known is a number that a response need not have.
func known(n *int) string {
	if n == nil {
		return ""
	}
	return output.Decimal(*n)
}

func poolPath(name string) string { return "/v1/pool/" + url.PathEscape(name) }

func newList(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the pools that have a size",
		Long:    `List the pools that have a size, by name.`,
		Example: "  galaxyctl pool list\n  galaxyctl pool list -o yaml",
		Args:    command.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.Dial()
			if err != nil {
				return err
			}
			var response api.PoolsResponse
			if _, err := s.Ask(cmd.Context(), http.MethodGet, "/v1/pool", nil, nil, &response); err != nil {
				return err
			}
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), response.Pools)
			}
			t := output.NewTable(cmd.OutOrStdout(), "NAME", "SIZE", "HELD", "USED", "PREALLOCATED")
			for _, p := range response.Pools {
				t.Add(p.Name, output.Decimal(p.Size), output.Decimal(p.Held), output.Decimal(p.Used),
					strconv.FormatBool(p.PreAllocate))
			}
			return t.Flush()
		},
	}
}

func newGet(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME",
		Short:   "Print one pool",
		Long:    `Print the size of a pool, and how many addresses it holds now.`,
		Example: "  galaxyctl pool get blue\n  galaxyctl pool get blue -o json",
		Args:    command.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.Dial()
			if err != nil {
				return err
			}
			var response api.PoolResponse
			if _, err := s.Ask(cmd.Context(), http.MethodGet, poolPath(args[0]), nil, nil, &response); err != nil {
				return err
			}
			p := pool{response.Pool, &response.Held}
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), p)
			}
			return output.Pairs(cmd.OutOrStdout(), "pool", p.Name, "size", output.Decimal(p.Size), "held",
				output.Decimal(response.Held), "preallocated", strconv.FormatBool(p.PreAllocate))
		},
	}
}

func newSet(g *command.Globals) *cobra.Command {
	var want pool
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Create a pool or change its size",
		Long: `Create a pool, or change how many addresses it may hold. A pool that becomes smaller gives back
what it reserves beyond its new size, never what pods use. With --preallocate, free addresses are reserved for
it until it holds its size; when there are too few, it keeps those it got, and the exit code is 1. A pool that
is there keeps that choice unless --preallocate=false is said.`,
		Example: `  galaxyctl pool set blue --size 20
  galaxyctl pool set blue --size 20 --preallocate`,
		Args: command.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("size") || want.Size < 0 {
				return cli.Usage("--size: want a number of addresses, 0 or more")
			}
			want.Name = args[0]
			s, err := g.Dial()
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("preallocate") {
				if want.PreAllocate, err = preallocates(cmd, s, want.Name); err != nil {
					return err
				}
			}
			return want.set(cmd, g, s)
		},
	}
	cmd.Flags().IntVar(&want.Size, "size", 0, "how many addresses the pool may hold")
	cmd.Flags().BoolVar(&want.PreAllocate, "preallocate", false, "reserve addresses until the pool holds its size")
	return cmd
}

// preallocates reports whether a pool reserves addresses in advance; false if there is no such pool.
func preallocates(cmd *cobra.Command, s *rest.Server, name string) (bool, error) {
	var response api.PoolResponse
	status, err := s.Ask(cmd.Context(), http.MethodGet, poolPath(name), nil, nil, &response)
	if status == http.StatusNotFound {
		return false, nil
	}
	return response.Pool.PreAllocate, err
}

func (p pool) set(cmd *cobra.Command, g *command.Globals, s *rest.Server) error {
	var response api.SizedResponse
	status, err := persist(cmd, s, p.Name, func() (int, error) {
		return s.Ask(cmd.Context(), http.MethodPost, "/v1/pool", nil, p.PoolFields, &response)
	})
	if err != nil {
		return err
	}
	p.Held = response.RealPoolSize
	if g.Output != output.AsTable {
		err = g.Output.Document(cmd.OutOrStdout(), p)
	} else {
		err = output.Pairs(cmd.OutOrStdout(), "pool", p.Name, "size", output.Decimal(p.Size), "held", known(p.Held),
			"preallocated", strconv.FormatBool(p.PreAllocate))
	}
	if err == nil && status == http.StatusAccepted {
		return fmt.Errorf("pool %s: %s", p.Name, response.Message)
	}
	return err
}

// persist repeats what takes galaxy-ipam longer than it may work on one request, as with a pool of some hundred
// thousand addresses, as long as it comes nearer to its end, and says how far it is.
func persist(cmd *cobra.Command, s *rest.Server, name string, do func() (int, error)) (status int, err error) {
	for before := -1; ; {
		status, err = do()
		var no *rest.Refused
		if !errors.As(err, &no) || no.Status != http.StatusServiceUnavailable {
			return status, err
		}
		var now api.PoolResponse
		if _, err := s.Ask(cmd.Context(), http.MethodGet, poolPath(name), nil, nil, &now); err != nil ||
			now.Held == before {
			return status, no
		}
		before = now.Held
		if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "still at work: pool %s holds %d addresses\n", name,
			now.Held); err != nil {
			return status, err
		}
	}
}

func newDelete(g *command.Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove a pool's size and give back what is reserved for it",
		Long:    `Remove a pool's size, and give back the addresses that are reserved for it. Those that pods use stay theirs.`,
		Example: "  galaxyctl pool delete blue",
		Args:    command.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.Dial()
			if err != nil {
				return err
			}
			_, err = persist(cmd, s, args[0], func() (int, error) {
				return s.Ask(cmd.Context(), http.MethodDelete, poolPath(args[0]), nil, nil, nil)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "pool %s is deleted\n", args[0])
			return err
		},
	}
}
