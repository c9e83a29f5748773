package objects_test

import (
	"strings"
	"testing"
	"time"

	"galaxy/kube/objects"
)

// Objects have names as an API server takes them, and an error says which has not, where, and what to write.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 254)
	galaxy := "apiVersion: galaxy.k8s.io/v1alpha1\n"
	for what, c := range map[string]struct{ text, want string }{
		"a pod":  {"kind: Pod\nmetadata: {name: web-0.a, namespace: shop-1}", ""},
		"a node": {"kind: Node\nmetadata: {name: ip-10-0-0-1.eu.internal}", ""},
		"a pool": {galaxy + "kind: Pool\nmetadata: {name: blue.1}\nsize: 1", ""},
		"a role": {
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:node'}",
			"",
		},
		"an address":  {galaxy + "kind: FloatingIP\nmetadata: {name: 10.0.0.2}", ""},
		"one of IPv6": {galaxy + "kind: FloatingIP\nmetadata: {name: 2001-0db8-0000-0000-0000-0000-0000-0002}", ""},
		"another's":   {"apiVersion: example.org/v1\nkind: FloatingIP\nmetadata: {name: mine}", ""},

		"a pod in capitals": {
			"kind: Pod\nmetadata: {name: Web-0, namespace: shop}",
			`document 1, Pod shop/Web-0: metadata.name: no API server takes "Web-0": a lowercase RFC 1123 subdomain`,
		},
		"what to do about it": {"kind: Pod\nmetadata: {name: web_0}", "; write the name as kubectl get shows it"},
		"a node with a slash": {
			"kind: Node\nmetadata: {name: a/b}",
			`document 1, Node a/b: metadata.name: no API server takes "a/b"`,
		},
		"a long node": {
			"kind: Node\nmetadata: {name: " + long + "}",
			`document 1, "Node ` + long[:59] + `"...: metadata.name: no API server`,
		},
		"how long it may be": {"kind: Node\nmetadata: {name: " + long + "}", "must be no more than 253 characters"},
		"a pool with a space": {
			"kind: Node\nmetadata: {name: a}\n---\n" + galaxy + "kind: Pool\nmetadata: {name: 'a b'}\nsize: 1",
			`document 2, Pool a b: metadata.name: no API server takes "a b"`,
		},
		"a map in capitals": {
			"kind: ConfigMap\nmetadata: {name: C}",
			`ConfigMap C: metadata.name: no API server takes "C"`,
		},
		"a workload": {
			"kind: StatefulSet\nmetadata: {name: -db}",
			`StatefulSet -db: metadata.name: no API server takes "-db"`,
		},
		"a custom one": {
			"kind: TApp\nmetadata: {name: a/b}",
			`TApp a/b: metadata.name: no API server takes "a/b": may not contain '/'`,
		},
		"a namespace with a point": {
			"kind: Pod\nmetadata: {name: p, namespace: shop.eu}",
			`document 1, Pod shop.eu/p: metadata.namespace: no API server takes "shop.eu": must not contain dots`,
		},
		"a long namespace": {
			"kind: Pod\nmetadata: {name: p, namespace: " + long[:64] + "}",
			"must be no more than 63 characters",
		},
		"a kind of words": {"kind: My Kind\nmetadata: {name: p}", `kind: no API server takes "My Kind"`},
		"a long kind":     {"kind: " + long + "\nmetadata: {name: p}", "must be no more than 63 characters"},
		"a line in a name": {
			"kind: Pod\nmetadata: {name: \"a\\nb\"}",
			`document 1, "Pod a\nb": metadata.name: no API server takes "a\nb"`,
		},
		"an address of no form": {
			galaxy + "kind: FloatingIP\nmetadata: {name: mine}",
			`FloatingIP mine: metadata.name: no API server takes "mine": a FloatingIP is named after its address, as 10.0.0.2`,
		},
		"an address with colons": {
			galaxy + "kind: FloatingIP\nmetadata: {name: 'fd00::1'}",
			`no API server takes "fd00::1"`,
		},
		"in a list": {
			"kind: List\nitems:\n- kind: Node\n  metadata: {name: a}\n- kind: Node\n  metadata: {name: B}",
			`document 1, items[1], Node B: metadata.name: no API server takes "B"`,
		},
	} {
		_, err := objects.Parse([]byte(c.text), time.Now())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// Pods that the code tells apart by their uid have one, each its own.
func TestIdentities(t *testing.T) {
	wants := "\nspec: {containers: [{resources: {requests: {tke.cloud.tencent.com/eni-ip: '1'}}}]}"
	for what, c := range map[string]struct{ text, want string }{
		"one that asks for nothing": {"kind: Pod\nmetadata: {name: p}", ""},
		"one that asks":             {"kind: Pod\nmetadata: {name: p, uid: u}" + wants, ""},
		"one that asks, without uid": {
			"kind: Pod\nmetadata: {name: p, namespace: ns}" + wants,
			"document 1, Pod ns/p: metadata.uid is missing, and a pod that asks for addresses is known by it; write " +
				"the uid",
		},
		"two of one uid": {
			"kind: Pod\nmetadata: {name: p, uid: u}\n---\nkind: Pod\nmetadata: {name: q, uid: u}",
			"document 2, Pod q: metadata.uid: the pod default/p, which stands earlier in the file, has the same uid",
		},
		"two of one name": {
			"kind: Pod\nmetadata: {name: p}\n---\nkind: Pod\nmetadata: {name: p, namespace: default}",
			"document 2, Pod default/p: the same pod stands earlier in the file; leave one of them out",
		},
		"on a node of no name": {
			"kind: Pod\nmetadata: {name: p}\nspec: {nodeName: A}",
			`document 1, Pod p: spec.nodeName: no API server takes "A"`,
		},
	} {
		_, err := objects.Parse([]byte(c.text), time.Now())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
