package main

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"galaxy/cmd/internal/cli"
	"galaxy/cmd/internal/localhost"
)

// plainMember is a member of the embedded etcd that others reach without TLS over a network; "" if there is none.
func (o *options) plainMember() string {
	for _, name := range slices.Sorted(maps.Keys(o.embeddedMembers)) {
		u, err := url.Parse(o.embeddedMembers[name])
		if err == nil && u.Scheme != "https" && !localhost.Is(u.Hostname()) {
			return name + "=" + o.embeddedMembers[name]
		}
	}
	return ""
}

func (o *options) secureMembers() bool {
	for _, text := range o.embeddedMembers {
		if strings.HasPrefix(text, "https://") {
			return true
		}
	}
	return false
}

// checkEmbedded is about the embedded etcd and its members.
func (o *options) checkEmbedded() error {
	if o.embeddedDir == "" {
		if len(o.embeddedMembers) > 0 {
			return cli.Usage("--embedded-etcd-members needs --embedded-etcd DIR")
		}
		return nil
	}
	if !isURL(o.embeddedClientURL) {
		return cli.Usage("--embedded-etcd-client-url %q: want http://<address>:<port>", o.embeddedClientURL)
	}
	if !isLocalURL(o.embeddedClientURL) && !o.insecurePorts {
		return cli.Usage("--embedded-etcd-client-url %s: whoever reaches it could write the log: take an address of "+
			"this host alone, or say --insecure-ports", o.embeddedClientURL)
	}
	if len(o.embeddedMembers) == 0 {
		return nil
	}
	if !isURL(o.embeddedPeerURL) {
		return cli.Usage("--embedded-etcd-peer-url %q: want http://<address>:<port> or https://<address>:<port>",
			o.embeddedPeerURL)
	}
	for _, name := range slices.Sorted(maps.Keys(o.embeddedMembers)) {
		if !isURL(o.embeddedMembers[name]) {
			return cli.Usage("--embedded-etcd-members %s=%s: want <name>=https://<host>:<port>", name,
				o.embeddedMembers[name])
		}
	}
	switch member := o.plainMember(); {
	case member != "" && !o.insecurePorts:
		return cli.Usage("--embedded-etcd-members %s: whoever reaches it could write the log: name https URLs, with "+
			"--embedded-etcd-peer-cert, -key and -ca (galaxyctl certs makes them), or say --insecure-ports", member)
	case !o.secureMembers() && !o.insecurePorts && !isLocalURL(o.embeddedPeerURL):
		return cli.Usage("--embedded-etcd-peer-url %s: whoever reaches it could write the log: take an address of "+
			"this host alone, or name https URLs in --embedded-etcd-members, or say --insecure-ports",
			o.embeddedPeerURL)
	case o.secureMembers() && (o.embeddedTLS.Cert == "" || o.embeddedTLS.Key == "" || o.embeddedTLS.CA == ""):
		return cli.Usage("members with https URLs need --embedded-etcd-peer-cert, --embedded-etcd-peer-key and " +
			"--embedded-etcd-peer-ca")
	}
	return nil
}

func isLocalURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && localhost.Is(u.Hostname())
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Port() != ""
}

// member is the name of this member, which is one of the members.
func (o *options) member() (string, error) {
	name, err := cli.OrHostname(o.embeddedName)
	if err != nil {
		return "", err
	}
	if _, ok := o.embeddedMembers[name]; !ok {
		return "", cli.Usage("--embedded-etcd-members: %q, the name of this member, is not among %s: see "+
			"--embedded-etcd-name", name, strings.Join(slices.Sorted(maps.Keys(o.embeddedMembers)), ", "))
	}
	return name, nil
}
