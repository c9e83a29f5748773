// Package etcdauth is the command etcd-auth of galaxyctl: it makes the users and roles in etcd.
package etcdauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"galaxy/cmd/galaxyctl/internal/command"
	"galaxy/cmd/galaxyctl/internal/output"
	"galaxy/cmd/internal/cli"
	"galaxy/durable"
	"galaxy/eventlog"
	"galaxy/lease"
)

// grant is what a role may do with a key, or with all keys that begin with it.
type grant struct {
	Key    string `json:"key"`
	Prefix bool   `json:"prefix,omitempty"` // Key is what keys begin with
	Write  bool   `json:"write,omitempty"`  // read, too
}

// role is one part of galaxy with its own credentials; the user that has it is called the same.
type role struct {
	Name   string  `json:"name"`
	Why    string  `json:"why"`
	Grants []grant `json:"grants"`
}

// rolesOf are the least that each part of galaxy needs: the leader writes its two streams and its public keys, a
// node its own stream and its lease, and an auditor only reads.
func rolesOf(prefix string, nodes []string) []role {
	root := prefix + "/v1/"
	read := func(keys ...string) (all []grant) {
		for _, key := range keys {
			all = append(all, grant{Key: root + key, Prefix: strings.HasSuffix(key, "/")})
		}
		return all
	}
	write := func(keys ...string) (all []grant) {
		for _, g := range read(keys...) {
			g.Write = true
			all = append(all, g)
		}
		return all
	}
	stream := func(name string) []string {
		return []string{"head/" + name, "log/" + name + "/", "snapshot/" + name + "/"}
	}
	leader := write(append(stream(eventlog.StreamIPAM), stream(eventlog.StreamNodes)...)...)
	leader = append(leader, write("generation", "lease/leader", "lease/claim/", "lease/replica/", "key/")...)
	roles := []role{
		{"galaxy-leader", "galaxy-ipam: all of its replicas, as each may lead",
			append(leader, grant{Key: root, Prefix: true})},
		{"galaxy-auditor", "whoever reads the log and must not change it", []grant{{Key: root, Prefix: true}}},
	}
	for _, node := range nodes {
		own := write(stream(eventlog.StreamOfNode(node))...)
		own = append(own, grant{Key: lease.NodesPrefix(prefix) + node, Write: true})
		own = append(own, read(append(stream(eventlog.StreamNodes), "generation", "restoring", "key/")...)...)
		roles = append(roles, role{roleOf(node), "the agent of node " + node, own})
	}
	return roles
}

// roleOf is the role of a node's agent, and the user that has it.
func roleOf(node string) string { return "galaxy-node-" + node }

// New makes the command.
func New(g *command.Globals) *cobra.Command {
	group := command.Group(&cobra.Command{
		Use:   "etcd-auth",
		Short: "Users and roles in etcd with which each part of galaxy may do no more than it must",
		Long: `Print, or make, users and roles in etcd: one for galaxy-ipam, one for each node's agent, and
one for auditors. A node's agent may write its lease and its own stream, and nothing else; so whoever takes a
node over cannot rewrite what others have done.

A user is named like its role: galaxy-leader, galaxy-auditor, galaxy-node-<name>. With client certificates the
common name (CN) of the certificate is the user; then users need no password.`,
		Example: `  galaxyctl etcd-auth print --nodes worker-1,worker-2
  galaxyctl etcd-auth apply --nodes worker-1,worker-2 --etcd-cert root.pem --etcd-key root.key --etcd-ca ca.pem
  galaxyctl etcd-auth apply --nodes worker-3 --passwords ./secrets --etcd-user root --etcd-password-file root.pw`,
	})
	group.AddCommand(newPrint(g), newApply(g), newRevoke(g))
	return group
}

// checkNodes refuses what is no name of a node, before anything is made of it: it becomes the name of a user, of a
// file, and of a stream.
func checkNodes(nodes []string) error {
	for _, node := range nodes {
		if problems := validation.IsDNS1123Subdomain(node); len(problems) > 0 {
			return cli.Usage("--nodes: %q is no name of a node: %s", node, problems[0])
		}
	}
	return nil
}

// connectFor connects to etcd when nodes are names of nodes.
func connectFor(ctx context.Context, g *command.Globals, nodes []string) (*clientv3.Client, error) {
	if err := checkNodes(nodes); err != nil {
		return nil, err
	}
	return g.Etcd.Connect(ctx)
}

func nodesFlag(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringSliceVar(to, "nodes", nil, "names of nodes whose agents need credentials")
}

func newPrint(g *command.Globals) *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use: "print", Short: "Print the etcdctl commands that make them", Args: command.Takes(),
		Long: "Print the etcdctl commands that make users and roles, to be read before they are run. -o json " +
			"prints the roles.",
		Example: "  galaxyctl etcd-auth print --nodes worker-1 | sh -e",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(nodes); err != nil {
				return err
			}
			roles := rolesOf(g.Etcd.Prefix, nodes)
			if g.Output != output.AsTable {
				return g.Output.Document(cmd.OutOrStdout(), roles)
			}
			return printRoles(cmd.OutOrStdout(), roles)
		},
	}
	nodesFlag(cmd, &nodes)
	return cmd
}

func printRoles(out io.Writer, roles []role) error {
	var text strings.Builder
	for _, r := range roles {
		fmt.Fprintf(&text, "# %s\netcdctl role add %s\n", r.Why, r.Name)
		for _, p := range r.Grants {
			kind, option := "read", ""
			if p.Write {
				kind = "readwrite"
			}
			if p.Prefix {
				option = "--prefix=true "
			}
			fmt.Fprintf(&text, "etcdctl role grant-permission %s%s %s %s\n", option, r.Name, kind, p.Key)
		}
		fmt.Fprintf(&text, "etcdctl user add %[1]s --no-password\netcdctl user grant-role %[1]s %[1]s\n", r.Name)
	}
	text.WriteString("# when there is a user root with the role root, and every part has its credentials:\n# etcdctl " +
		"auth enable\n")
	_, err := io.WriteString(out, text.String())
	return err
}

func newApply(g *command.Globals) *cobra.Command {
	var nodes []string
	var passwords string
	var enable bool
	cmd := &cobra.Command{
		Use: "apply", Short: "Make them in etcd", Args: command.Takes(),
		Long: `Make users and roles in etcd, or complete those that are there. It may be repeated, for example for nodes that have come later.
--enable switches authentication on when all is made; a user root with the role root must be there before.`,
		Example: "  galaxyctl etcd-auth apply --nodes worker-1,worker-2 --passwords ./secrets --enable",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := connectFor(cmd.Context(), g, nodes)
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // every request was answered
			for _, r := range rolesOf(g.Etcd.Prefix, nodes) {
				if err := applyRole(cmd.Context(), client, r, passwords); err != nil {
					return fmt.Errorf("%s: %w", r.Name, g.Etcd.Explain(err))
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s may do what it must\n", r.Name); err != nil {
					return err
				}
			}
			if !enable {
				return nil
			}
			if _, err := client.AuthEnable(cmd.Context()); err != nil {
				return fmt.Errorf("enable authentication: %w; make a user root with the role root first", err)
			}
			return nil
		},
	}
	nodesFlag(cmd, &nodes)
	cmd.Flags().StringVar(&passwords, "passwords", "",
		"folder with a file <user> for each password, which is made up if it is not there; without it, users have "+
			"none and are known by their certificates")
	cmd.Flags().BoolVar(&enable, "enable", false, "switch authentication on at the end")
	return cmd
}

func newRevoke(g *command.Globals) *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use: "revoke", Short: "Take away the users of nodes, at once", Args: command.Takes(),
		Long: `Take away the users and roles of nodes: whoever has their credentials can write nothing more,
also over connections that are open. What they have written stays. "apply" makes them again; with --passwords,
remove the node's file before, so that it gets a new one.`,
		Example: "  galaxyctl etcd-auth revoke --nodes worker-3 --etcd-user root --etcd-password-file root.pw",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(nodes) == 0 {
				return cli.Usage("--nodes: name the nodes whose users are to be taken away")
			}
			client, err := connectFor(cmd.Context(), g, nodes)
			if err != nil {
				return err
			}
			defer client.Close() //nolint:errcheck // every request was answered
			for _, node := range nodes {
				name := roleOf(node)
				done, err := revoke(cmd.Context(), client, name)
				if err != nil {
					return fmt.Errorf("%s: %w", name, g.Etcd.Explain(err))
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, done); err != nil {
					return err
				}
			}
			return nil
		},
	}
	nodesFlag(cmd, &nodes)
	return cmd
}

// revoke deletes a user and its role.
func revoke(ctx context.Context, client *clientv3.Client, name string) (done string, err error) {
	_, err = client.UserDelete(ctx, name)
	if errors.Is(err, rpctypes.ErrUserNotFound) {
		done = "was there no more"
	} else if done = "may do nothing more"; err != nil {
		return "", err
	}
	if _, err = client.RoleDelete(ctx, name); err != nil && !errors.Is(err, rpctypes.ErrRoleNotFound) {
		return "", err
	}
	return done, nil
}

// applyRole makes a role and its user, and completes what is there.
func applyRole(ctx context.Context, client *clientv3.Client, r role, passwords string) error {
	if _, err := client.RoleAdd(ctx, r.Name); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		return err
	}
	for _, p := range r.Grants {
		kind, end := clientv3.PermissionType(clientv3.PermRead), ""
		if p.Write {
			kind = clientv3.PermissionType(clientv3.PermReadWrite)
		}
		if p.Prefix {
			end = clientv3.GetPrefixRangeEnd(p.Key)
		}
		if _, err := client.RoleGrantPermission(ctx, r.Name, p.Key, end, kind); err != nil {
			return fmt.Errorf("grant %s: %w", p.Key, err)
		}
	}
	password, err := passwordOf(passwords, r.Name)
	if err != nil {
		return err
	}
	_, err = client.UserAddWithOptions(ctx, r.Name, password, &clientv3.UserAddOptions{NoPassword: passwords == ""})
	if errors.Is(err, rpctypes.ErrUserAlreadyExist) && passwords != "" {
		_, err = client.UserChangePassword(ctx, r.Name, password)
	}
	if err != nil && !errors.Is(err, rpctypes.ErrUserAlreadyExist) {
		return err
	}
	_, err = client.UserGrantRole(ctx, r.Name, r.Name)
	return err
}

// passwordOf is the password in a user's file, which is made if it is not there.
func passwordOf(dir, user string) (string, error) {
	if dir == "" {
		return "", nil
	}
	file := filepath.Join(dir, user)
	if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	password := rand.Text()
	return password, durable.WriteFile(file, []byte(password+"\n"), 0o600)
}
