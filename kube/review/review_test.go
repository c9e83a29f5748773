package review_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"galaxy/kube/review"
)

// server is an API server that knows one token, "good", of jane, who may do what allow says.
type server struct {
	*fake.Clientset
	tokens, accesses int
	asked            authorizationv1.SubjectAccessReviewSpec
	allow            func(authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewStatus
	down             error // of every question
	deaf             error // of the second one only
}

var jane = authenticationv1.UserInfo{Username: "jane", UID: "u-1", Groups: []string{"ops", "system:authenticated"},
	Extra: map[string]authenticationv1.ExtraValue{"scopes": {"a", "b"}}}

func newServer() *server {
	s := &server{Clientset: fake.NewClientset()}
	s.allow = func(authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	}
	s.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.tokens++
		if s.down != nil {
			return true, nil, s.down
		}
		asked := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if asked.Spec.Token == "good" {
			asked.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: jane}
		} else {
			asked.Status.Error = "token has expired"
		}
		return true, asked, nil
	})
	s.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.accesses++
		if s.deaf != nil {
			return true, nil, s.deaf
		}
		asked := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		s.asked = asked.Spec
		of := authorizationv1.ResourceAttributes{}
		if asked.Spec.ResourceAttributes != nil {
			of = *asked.Spec.ResourceAttributes
		}
		asked.Status = s.allow(of)
		return true, asked, nil
	})
	return s
}

func TestAllowed(t *testing.T) {
	s := newServer()
	r := review.New(review.Config{Client: s})
	user, err := r.Authorize(t.Context(), "good", "create", "floatingips", "10.0.0.1")
	if err != nil || user != "jane" {
		t.Fatalf("%q, %v", user, err)
	}
	want := authorizationv1.SubjectAccessReviewSpec{
		User: "jane", UID: "u-1", Groups: jane.Groups,
		Extra: map[string]authorizationv1.ExtraValue{"scopes": {"a", "b"}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: "galaxy.k8s.io", Resource: "floatingips",
			Verb: "create", Name: "10.0.0.1"},
	}
	if !reflect.DeepEqual(s.asked, want) {
		t.Errorf("asked for %+v, want %+v", s.asked, want)
	}
}

// A path is asked about as the cluster's own components ask about theirs.
func TestPath(t *testing.T) {
	s := newServer()
	r := review.New(review.Config{Client: s})
	if _, err := r.Authorize(t.Context(), "good", "get", "/metrics", ""); err != nil {
		t.Fatal(err)
	}
	if s.asked.ResourceAttributes != nil || !reflect.DeepEqual(s.asked.NonResourceAttributes,
		&authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}) {
		t.Errorf("asked for %+v", s.asked)
	}
	s.allow = func(authorizationv1.ResourceAttributes) (no authorizationv1.SubjectAccessReviewStatus) { return no }
	_, err := review.New(review.Config{Client: s}).Authorize(t.Context(), "good", "get", "/metrics", "")
	if err == nil || !strings.Contains(err.Error(), `may not get /metrics; missing`) ||
		!strings.Contains(err.Error(), `{nonResourceURLs: ["/metrics"], verbs: ["get"]}`) {
		t.Errorf("%v", err)
	}
}

func TestUnauthenticated(t *testing.T) {
	s := newServer()
	r := review.New(review.Config{Client: s})
	_, err := r.Authorize(t.Context(), "bad", "create", "floatingips", "")
	var unauthenticated *review.UnauthenticatedError
	if !errors.As(err, &unauthenticated) || !strings.Contains(err.Error(), "token has expired") {
		t.Errorf("%v", err)
	}
	if s.accesses != 0 {
		t.Error("asked what nobody may do")
	}
}

func TestForbidden(t *testing.T) {
	for name, status := range map[string]authorizationv1.SubjectAccessReviewStatus{
		"no opinion": {Reason: "no rule"}, "denied": {Allowed: true, Denied: true, Reason: "no rule"},
		"failed": {EvaluationError: "no rule"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.allow = func(authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewStatus { return status }
			user, err := review.New(review.Config{Client: s}).Authorize(t.Context(), "good", "delete", "pools", "blue")
			var forbidden *review.ForbiddenError
			if !errors.As(err, &forbidden) || user != "jane" {
				t.Fatalf("%q, %v", user, err)
			}
			for _, part := range []string{
				`user "jane" may not delete pools.galaxy.k8s.io "blue"`, "no rule",
				`apiGroups: ["galaxy.k8s.io"], resources: ["pools"], verbs: ["delete"]`,
			} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: no %s", err, part)
				}
			}
		})
	}
}

// TestCache: a yes and a no are remembered for their time and for exactly their question; a failure is not.
func TestCache(t *testing.T) {
	s := newServer()
	now := time.Unix(1000, 0)
	r := review.New(review.Config{Client: s, Now: func() time.Time { return now }})
	ask := func(token, verb, resource, name string) error {
		_, err := r.Authorize(t.Context(), token, verb, resource, name)
		return err
	}
	expect := func(what string, tokens int) {
		t.Helper()
		if s.tokens != tokens {
			t.Errorf("%s: %d token reviews, want %d", what, s.tokens, tokens)
		}
	}
	for range 3 {
		if err := ask("good", "create", "floatingips", "a"); err != nil {
			t.Fatal(err)
		}
	}
	expect("the same question", 1)
	now = now.Add(10*time.Second - 1)
	_ = ask("good", "create", "floatingips", "a")
	expect("just within the time of a yes", 1)
	now = now.Add(1)
	_ = ask("good", "create", "floatingips", "a")
	expect("after it", 2)
	for i, q := range [][4]string{
		{"good", "delete", "floatingips", "a"}, {"good", "create", "pools", "a"},
		{"good", "create", "floatingips", "b"},
		{"goo", "dcreate", "floatingips", "a"}, {"bad", "create", "floatingips", "a"},
	} {
		_ = ask(q[0], q[1], q[2], q[3])
		expect(fmt.Sprint(q), 3+i)
	}
	now = now.Add(5*time.Second - 1)
	if err := ask("bad", "create", "floatingips", "a"); err == nil {
		t.Error("a no became a yes")
	}
	expect("just within the time of a no", 7)
	now = now.Add(1)
	_ = ask("bad", "create", "floatingips", "a")
	expect("after it", 8)
	s.down = errors.New("connection refused")
	for range 2 {
		if err := ask("new", "create", "floatingips", "a"); err == nil {
			t.Error("a failure is a yes")
		}
	}
	expect("failures", 10)
}

// TestCacheIsBounded: however many tokens are tried, only so many responses are kept.
func TestCacheIsBounded(t *testing.T) {
	s := newServer()
	r := review.New(review.Config{Client: s, Size: 2})
	for _, name := range []string{"a", "b", "c", "c", "b", "a"} {
		if _, err := r.Authorize(t.Context(), "good", "create", "floatingips", name); err != nil {
			t.Fatal(err)
		}
	}
	if s.accesses != 4 {
		t.Errorf("%d questions, want 4: a was forgotten for c", s.accesses)
	}
}

// TestNobodyToAsk: without a response the error is neither a no of the one kind nor of the other, and says how to
// repair it.
func TestNobodyToAsk(t *testing.T) {
	refused := apierrors.NewForbidden(schema.GroupResource{Group: "authentication.k8s.io", Resource: "tokenreviews"},
		"", errors.New("rbac"))
	for name, c := range map[string]struct {
		down, deaf error
		says       string
	}{
		"down":                    {down: errors.New("connection refused"), says: "connection refused"},
		"second question":         {deaf: errors.New("connection refused"), says: "subjectaccessreviews"},
		"no right to ask":         {down: refused, says: "system:auth-delegator"},
		"no right to ask further": {deaf: refused, says: "system:auth-delegator"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.down, s.deaf = c.down, c.deaf
			user, err := review.New(review.Config{Client: s}).Authorize(t.Context(), "good", "create", "floatingips",
				"")
			var unauthenticated *review.UnauthenticatedError
			var forbidden *review.ForbiddenError
			if err == nil || user != "" || errors.As(err, &unauthenticated) || errors.As(err, &forbidden) ||
				!strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
}

// TestTimeout: an API server that says nothing is not waited for, even when the request has no end of its own.
func TestTimeout(t *testing.T) {
	silent := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
	defer api.Close()
	defer close(silent)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := review.New(review.Config{Client: client, Timeout: 20 * time.Millisecond})
	if _, err := r.Authorize(context.Background(), "good", "create", "floatingips", ""); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Tokens that nobody knows cost the API server a bounded number of questions at a time. One that is too long to be a
// token costs none.
func TestManyTokens(t *testing.T) {
	asked, silent := make(chan struct{}, 100), make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-silent
	}))
	defer api.Close()
	defer close(silent)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL, QPS: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	r := review.New(review.Config{Client: client, AtOnce: 3, Timeout: 20 * time.Second})
	var unauthenticated *review.UnauthenticatedError
	if _, err := r.Authorize(t.Context(), strings.Repeat("x", 1<<20), "create", "floatingips", ""); !errors.As(err,
		&unauthenticated) || len(asked) != 0 {
		t.Errorf("a token of 1 MiB: %v, asked %d times", err, len(asked))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 3 {
		go func() { _, _ = r.Authorize(ctx, fmt.Sprint("made up ", i), "create", "floatingips", "") }()
	}
	for range 3 {
		<-asked
	}
	if _, err := r.Authorize(t.Context(), "made up", "create", "floatingips", ""); !errors.Is(err, review.ErrBusy) {
		t.Errorf("a fourth token: %v", err)
	}
}
