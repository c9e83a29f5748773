package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

// pool is a pool as galaxy-ipam's REST interface shows it.
type pool struct {
	Name        string `json:"name"`
	Size        int    `json:"size"`
	PreAllocate bool   `json:"preAllocateIP"`
	Held        *int   `json:"held,omitempty"`
	Used        *int   `json:"used,omitempty"` // known in the list only
}

func newPool(g *globals) *cobra.Command {
	group := group(&cobra.Command{
		Use:   "pool",
		Short: "List, size and delete pools",
		Long: `A pool is a name that pods of several apps share their addresses under. A pool with a size holds at most so many; one without
has no limit, and is not listed here.`,
		Example: `  galaxyctl pool list
  galaxyctl pool set blue --size 20 --preallocate
  galaxyctl pool get blue`,
	})
	group.AddCommand(newPoolList(g), newPoolGet(g), newPoolSet(g), newPoolDelete(g))
	return group
}

// known is a number that an answer need not have.
func known(n *int) string {
	if n == nil {
		return ""
	}
	return decimal(*n)
}

func poolPath(name string) string { return "/v1/pool/" + url.PathEscape(name) }

func newPoolList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the pools that have a size",
		Long:    `List the pools that have a size, by name.`,
		Example: "  galaxyctl pool list\n  galaxyctl pool list -o yaml",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := g.dial()
			if err != nil {
				return err
			}
			var answer struct {
				Pools []pool `json:"pools"`
			}
			if _, err := s.ask(cmd.Context(), http.MethodGet, "/v1/pool", nil, nil, &answer); err != nil {
				return err
			}
			if g.output != formatTable {
				return g.output.document(cmd.OutOrStdout(), answer.Pools)
			}
			t := newTable(cmd.OutOrStdout(), "NAME", "SIZE", "HELD", "USED", "PREALLOCATED")
			for _, p := range answer.Pools {
				t.add(p.Name, decimal(p.Size), known(p.Held), known(p.Used), strconv.FormatBool(p.PreAllocate))
			}
			return t.flush()
		},
	}
}

func newPoolGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME",
		Short:   "Print one pool",
		Long:    `Print the size of a pool, and how many addresses it holds now.`,
		Example: "  galaxyctl pool get blue\n  galaxyctl pool get blue -o json",
		Args:    takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.dial()
			if err != nil {
				return err
			}
			var answer struct {
				Pool pool `json:"pool"`
				Held int  `json:"held"`
			}
			if _, err := s.ask(cmd.Context(), http.MethodGet, poolPath(args[0]), nil, nil, &answer); err != nil {
				return err
			}
			p := answer.Pool
			p.Held = &answer.Held
			if g.output != formatTable {
				return g.output.document(cmd.OutOrStdout(), p)
			}
			return pairs(cmd.OutOrStdout(), "pool", p.Name, "size", decimal(p.Size), "held", decimal(answer.Held), "preallocated", strconv.FormatBool(p.PreAllocate))
		},
	}
}

func newPoolSet(g *globals) *cobra.Command {
	var want pool
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Create a pool or change its size",
		Long: `Create a pool, or change how many addresses it may hold. A pool that becomes smaller gives back what it reserves beyond its new
size, never what pods use. With --preallocate, free addresses are reserved for it until it holds its size; when there are too
few, it keeps those it got, and the exit code is 1. A pool that is there keeps that choice unless --preallocate=false is said.`,
		Example: `  galaxyctl pool set blue --size 20
  galaxyctl pool set blue --size 20 --preallocate`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("size") || want.Size < 0 {
				return misuse("--size: want a number of addresses, 0 or more")
			}
			want.Name = args[0]
			s, err := g.dial()
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
func preallocates(cmd *cobra.Command, s *server, name string) (bool, error) {
	var answer struct {
		Pool pool `json:"pool"`
	}
	status, err := s.ask(cmd.Context(), http.MethodGet, poolPath(name), nil, nil, &answer)
	if status == http.StatusNotFound {
		return false, nil
	}
	return answer.Pool.PreAllocate, err
}

func (p pool) set(cmd *cobra.Command, g *globals, s *server) error {
	var answer struct {
		Message string `json:"message"`
		Held    *int   `json:"realPoolSize"`
	}
	status, err := s.persist(cmd, p.Name, func() (int, error) {
		return s.ask(cmd.Context(), http.MethodPost, "/v1/pool", nil, p, &answer)
	})
	if err != nil {
		return err
	}
	p.Held = answer.Held
	if g.output != formatTable {
		err = g.output.document(cmd.OutOrStdout(), p)
	} else {
		err = pairs(cmd.OutOrStdout(), "pool", p.Name, "size", decimal(p.Size), "held", known(p.Held), "preallocated", strconv.FormatBool(p.PreAllocate))
	}
	if err == nil && status == http.StatusAccepted {
		return fmt.Errorf("pool %s: %s", p.Name, answer.Message)
	}
	return err
}

// persist repeats what takes galaxy-ipam longer than it may work on one request, as with a pool of some hundred thousand addresses, as
// long as it comes nearer to its end, and says how far it is.
func (s *server) persist(cmd *cobra.Command, name string, do func() (int, error)) (status int, err error) {
	for before := -1; ; {
		status, err = do()
		var no *refused
		if !errors.As(err, &no) || no.status != http.StatusServiceUnavailable {
			return status, err
		}
		var now struct {
			Held int `json:"held"`
		}
		if _, err := s.ask(cmd.Context(), http.MethodGet, poolPath(name), nil, nil, &now); err != nil || now.Held == before {
			return status, no
		}
		before = now.Held
		if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "still at work: pool %s holds %d addresses\n", name, now.Held); err != nil {
			return status, err
		}
	}
}

func newPoolDelete(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove a pool's size and give back what is reserved for it",
		Long:    `Remove a pool's size, and give back the addresses that are reserved for it. Those that pods use stay theirs.`,
		Example: "  galaxyctl pool delete blue",
		Args:    takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.dial()
			if err != nil {
				return err
			}
			_, err = s.persist(cmd, args[0], func() (int, error) {
				return s.ask(cmd.Context(), http.MethodDelete, poolPath(args[0]), nil, nil, nil)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "pool %s is deleted\n", args[0])
			return err
		},
	}
}
