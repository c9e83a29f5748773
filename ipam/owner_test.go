package ipam

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOwnerText(t *testing.T) {
	for _, c := range []struct {
		text  string
		owner Owner
	}{
		{"dp_default_web_web-7df5-58hjm", Owner{Kind: "deployment", Namespace: "default", App: "web",
			Pod: "web-7df5-58hjm"}},
		{"sts_ns1_sts_sts-1", Owner{Kind: "statefulset", Namespace: "ns1", App: "sts", Pod: "sts-1"}},
		{"tapp_ns1_some-app_some-app-0", Owner{Kind: "tapp", Namespace: "ns1", App: "some-app", Pod: "some-app-0"}},
		{"spark_ns1_job_job-driver", Owner{Kind: "spark", Namespace: "ns1", App: "job", Pod: "job-driver"}},
		{"NULL_ns1_NULL_pod1", Owner{Namespace: "ns1", Pod: "pod1"}},
		{"pool__pl1_NULL_ns1_NULL_pod1", Owner{Namespace: "ns1", Pod: "pod1", Pool: "pl1"}},
		{"pool__pl1_dp_ns1_dp_dp-xxx-yyy", Owner{Kind: "deployment", Namespace: "ns1", App: "dp", Pod: "dp-xxx-yyy",
			Pool: "pl1"}},
		{"pool__pl1_sts_ns1_db_db-0", Owner{Kind: "statefulset", Namespace: "ns1", App: "db", Pod: "db-0",
			Pool: "pl1"}},
		{"dp_ns1_web_", Owner{Kind: "deployment", Namespace: "ns1", App: "web"}},
		{"pool__pl1_dp_ns1_web_", Owner{Kind: "deployment", Namespace: "ns1", App: "web", Pool: "pl1"}},
		{"pool__pl1_", Owner{Pool: "pl1"}},
		{"", Owner{}},
		// What the contract's text cannot carry is percent-encoded.
		{"pool__my%5Fpool_", Owner{Pool: "my_pool"}},
		{"pool__my%5Fpool_sts_ns1_db_db-0", Owner{Kind: "statefulset", Namespace: "ns1", App: "db", Pod: "db-0",
			Pool: "my_pool"}},
		{"%64p_ns1_x_x-0", Owner{Kind: "dp", Namespace: "ns1", App: "x", Pod: "x-0"}},
		{"NULL_ns1_%4EULL_x", Owner{Namespace: "ns1", App: "NULL", Pod: "x"}},
	} {
		if got := c.owner.String(); got != c.text {
			t.Errorf("%+v is %q, want %q", c.owner, got, c.text)
		}
		if got, err := ParseOwner(c.text); err != nil || got != c.owner {
			t.Errorf("%q is %+v, %v, want %+v", c.text, got, err, c.owner)
		}
	}
}

// TestForeignOwnerText: the reference writes "_" in pool names as it is.
func TestForeignOwnerText(t *testing.T) {
	for text, want := range map[string]Owner{
		"pool__my_pool_sts_ns1_db_db-0": {Kind: "statefulset", Namespace: "ns1", App: "db", Pod: "db-0",
			Pool: "my_pool"},
		"pool__a_b_c_": {Pool: "a_b_c"},
	} {
		if got, err := ParseOwner(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestBadOwnerText(t *testing.T) {
	for _, text := range []string{"web", "dp_ns1_web", "dp_ns1_web_pod_more", "pool__", "pool___", "pool__x",
		"dp_ns_%zz_x", "dp_ns_%4", "dp_ns_%5f_x"} {
		if got, err := ParseOwner(text); err == nil {
			t.Errorf("%q is accepted, as %+v", text, got)
		}
	}
}

// TestOwnerRoundTrip: whatever the names, the text form gives back the owner.
func TestOwnerRoundTrip(t *testing.T) {
	name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "_", "%", "NULL", "dp", "sts", "pool__", "a_b",
		"deployment"}))
	rapid.Check(t, func(t *rapid.T) {
		o := Owner{
			Kind: name.Draw(t, "kind"), Namespace: name.Draw(t, "namespace"), App: name.Draw(t, "app"),
			Pod: name.Draw(t, "pod"), Pool: name.Draw(t, "pool"),
		}
		if got, err := ParseOwner(o.String()); err != nil || got != o {
			t.Fatalf("%+v is %q, which is %+v, %v", o, o, got, err)
		}
	})
}

func FuzzOwner(f *testing.F) {
	for _, seed := range []string{"", "dp_default_web_web-7df5-58hjm", "pool__p_", "pool__my_pool_sts_ns1_db_db-0",
		"NULL_ns1_NULL_pod1", "%64p_a_b_c", "pool__%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOwner(text)
		if err != nil {
			return
		}
		if again, err := ParseOwner(o.String()); err != nil || again != o {
			t.Fatalf("%q is %+v, written %q, which is %+v, %v", text, o, o, again, err)
		}
	})
}

func TestLevels(t *testing.T) {
	pod := Owner{Kind: "deployment", Namespace: "ns", App: "web", Pod: "web-1", Pool: "p"}
	app := Owner{Kind: "deployment", Namespace: "ns", App: "web", Pool: "p"}
	pool := Owner{Pool: "p"}
	if pod.AppLevel() != app || pod.Scope() != pool || app.Scope() != pool {
		t.Error("levels of a pod in a pool")
	}
	free := Owner{Kind: "deployment", Namespace: "ns", App: "web", Pod: "web-1"}
	if free.Scope() != free.AppLevel() {
		t.Error("without a pool the app is the scope")
	}
	for _, o := range []Owner{pod, app, pool} {
		if !o.Covers(pod) || o.Covers(free) {
			t.Errorf("%q covers %q: %t, %q: %t", o, pod, o.Covers(pod), free, o.Covers(free))
		}
	}
	similar := Owner{Kind: "deployment", Namespace: "ns", App: "web-1", Pod: "web-1-0", Pool: "p"}
	if app.Covers(similar) {
		t.Error("web covers web-1")
	}
}

func TestOrdinal(t *testing.T) {
	for pod, want := range map[string]int{"web-0": 0, "web-17": 17, "a-b-3": 3, "web": -1, "web-": -1, "web-x1": -1,
		"web-1x": -1, "3": -1, "web-9999999999": -1} {
		n, ok := Owner{Pod: pod}.Ordinal()
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q has the number %d, want %d", pod, n, want)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	for _, c := range []struct {
		annotation, pool string
		want             Policy
	}{{"", "", ReleaseOnDelete}, {"immutable", "", Immutable}, {"never", "", Never}, {"", "p", Never},
		{"immutable", "p", Never}, {"Never", "", ReleaseOnDelete}} {
		if got := PolicyOf(c.annotation, c.pool); got != c.want {
			t.Errorf("%+v is %s", c, got)
		}
	}
	for _, p := range []Policy{ReleaseOnDelete, Immutable, Never} {
		text, err := p.MarshalText()
		var got Policy
		if err != nil || got.UnmarshalText(text) != nil || got != p {
			t.Errorf("%d is written %q and read %d", p, text, got)
		}
	}
	if _, err := Policy(3).MarshalText(); err == nil {
		t.Error("policy 3 is written")
	}
}

func TestOwnerCheck(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for _, key := range []string{"pool__reserved-for-node_", "NULL_ns_NULL_p", "dp_ns_web_",
		"pool__blå_sts_ns_db_db-0"} {
		if o, err := ParseOwner(key); err != nil || o.Check() != nil {
			t.Errorf("%s is refused: %v, %v", key, err, o.Check())
		}
	}
	for _, o := range []Owner{
		{}, {Namespace: "ns"}, {Kind: KindDeployment, Namespace: "ns"}, {Kind: KindDeployment, App: "web"},
		{Pod: "p", Pool: "blue"},
		{Pool: long}, {Pool: "a\x1bb"}, {Namespace: long, Pod: "p"}, {Namespace: "ns", Pod: long},
		{Namespace: "ns", App: long},
		{Kind: long, Namespace: "ns", App: "a"}, {Namespace: "a\u009b", Pod: "p"}, {Namespace: "ns", Pod: ".."},
	} {
		if o.Check() == nil {
			t.Errorf("%.80q is taken", o.String())
		}
	}
}

// An owner's text that cannot be read is shown in part.
func TestLongOwnerText(t *testing.T) {
	for _, text := range []string{strings.Repeat("x_", 1<<18), "pool__" + strings.Repeat("x", 1<<18), "dp_n_" +
		strings.Repeat("%zz", 1<<18) + "_"} {
		if _, err := ParseOwner(text); err == nil || len(err.Error()) > 500 {
			t.Errorf("%.20s: an error of %d bytes", text, len(fmt.Sprint(err)))
		}
	}
}
