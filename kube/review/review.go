package review

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"galaxy/kube/galaxyv1alpha1"
)

// group is the API group that rules have to name.
var group = galaxyv1alpha1.GroupVersion.Group

// Defaults of Config.
const (
	DefaultAllowedFor = 10 * time.Second
	DefaultDeniedFor  = 5 * time.Second
	DefaultTimeout    = 10 * time.Second
	DefaultSize       = 4096
	DefaultAtOnce     = 64
	maxToken          = 16 << 10 // bytes; a token of the API server's own has some 1 KB
)

// Config is what a Reviewer needs. Only Client is required.
type Config struct {
	Client     kubernetes.Interface
	AllowedFor time.Duration // how long a yes is remembered; DefaultAllowedFor if 0
	DeniedFor  time.Duration // and a no; DefaultDeniedFor if 0
	Timeout    time.Duration // of the questions for one request; DefaultTimeout if 0
	Size       int           // how many responses are remembered; DefaultSize if 0
	AtOnce     int           // how many requests are asked about at a time; DefaultAtOnce if 0
	Now        func() time.Time
}

// ErrBusy is a request that is not asked about, as too many others are: anybody can send tokens that nobody knows.
var ErrBusy = errors.New("too many tokens are being asked about; try again")

// Reviewer asks the API server, and remembers its responses for a short while. Failures to get a response are not
// remembered.
type Reviewer struct {
	Config
	known  *lru.Cache[key, verdict]
	asking chan struct{} // has one for each request that is asked about
}

// key is of a question, and has no token in it that could leak.
type key [sha256.Size]byte

// verdict is a response.
type verdict struct {
	user  string
	err   error
	until time.Time
}

// New makes a Reviewer.
func New(config Config) *Reviewer {
	orDefault(&config.AllowedFor, DefaultAllowedFor)
	orDefault(&config.DeniedFor, DefaultDeniedFor)
	orDefault(&config.Timeout, DefaultTimeout)
	orDefault(&config.Size, DefaultSize)
	if config.Now == nil {
		config.Now = time.Now
	}
	known, err := lru.New[key, verdict](config.Size)
	if err != nil {
		panic(err) // the size is not positive
	}
	orDefault(&config.AtOnce, DefaultAtOnce)
	return &Reviewer{Config: config, known: known, asking: make(chan struct{}, config.AtOnce)}
}

func orDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// UnauthenticatedError is a token that the API server knows nobody by.
type UnauthenticatedError struct{ Reason string }

func (e *UnauthenticatedError) Error() string {
	text := "the API server does not accept the token"
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Unauthenticated distinguishes this error from others.
func (*UnauthenticatedError) Unauthenticated() {}

// ForbiddenError is a user who may not do that.
type ForbiddenError struct {
	User, Verb, Resource, Name string
	Reason                     string // the API server's, if it gives one
}

func (e *ForbiddenError) Error() string {
	rule := fmt.Sprintf("{apiGroups: [%q], resources: [%q], verbs: [%q]}", group, e.Resource, e.Verb)
	what := e.Resource + "." + group
	if isPath(e.Resource) {
		rule, what = fmt.Sprintf("{nonResourceURLs: [%q], verbs: [%q]}", e.Resource, e.Verb), e.Resource
	}
	text := fmt.Sprintf("user %q may not %s %s", e.User, e.Verb, what)
	if e.Name != "" {
		text += fmt.Sprintf(" %q", e.Name)
	}
	if e.Reason != "" {
		text += ", the API server says: " + e.Reason
	}
	return text + "; missing is a ClusterRole, bound to that user by a ClusterRoleBinding, with the rule " + rule
}

// isPath distinguishes paths of ours from resources of the cluster.
func isPath(resource string) bool { return strings.HasPrefix(resource, "/") }

// Forbidden distinguishes this error from others.
func (*ForbiddenError) Forbidden() {}

// Authorize says who the bearer of a token is, if that user may do something with a resource of ours, or with a path
// that begins with "/": an UnauthenticatedError, a ForbiddenError with the user, or an error that means that the API
// server could not be asked.
func (r *Reviewer) Authorize(ctx context.Context, token, verb, resource, name string) (string, error) {
	k := keyOf(token, verb, resource, name)
	if v, ok := r.known.Get(k); ok && r.Now().Before(v.until) {
		return v.user, v.err
	}
	if len(token) > maxToken {
		return "", &UnauthenticatedError{fmt.Sprintf("it has %d bytes, and at most %d are asked about", len(token),
			maxToken)}
	}
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		return "", ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	user, err := r.ask(ctx, token, verb, resource, name)
	lasts := r.AllowedFor
	if err != nil {
		if !isResponse(err) {
			return "", err
		}
		lasts = r.DeniedFor
	}
	r.known.Add(k, verdict{user, err, r.Now().Add(lasts)})
	return user, err
}

func isResponse(err error) bool {
	var unauthenticated *UnauthenticatedError
	var forbidden *ForbiddenError
	return errors.As(err, &unauthenticated) || errors.As(err, &forbidden)
}

// keyOf writes the length before each part, so that no two questions look alike.
func keyOf(parts ...string) (k key) {
	h := sha256.New()
	for _, part := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		h.Write([]byte(part))
	}
	h.Sum(k[:0])
	return k
}

func (r *Reviewer) ask(ctx context.Context, token, verb, resource, name string) (string, error) {
	user, err := r.user(ctx, token)
	if err != nil {
		return "", err
	}
	return user.Username, r.may(ctx, user, verb, resource, name)
}

func (r *Reviewer) user(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	question := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	response, err := r.Client.AuthenticationV1().TokenReviews().Create(ctx, question, metav1.CreateOptions{})
	switch {
	case err != nil:
		return authenticationv1.UserInfo{}, notAsked("tokenreviews.authentication.k8s.io", err)
	case !response.Status.Authenticated || response.Status.User.Username == "":
		return authenticationv1.UserInfo{}, &UnauthenticatedError{response.Status.Error}
	}
	return response.Status.User, nil
}

func (r *Reviewer) may(ctx context.Context, user authenticationv1.UserInfo, verb, resource, name string) error {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	question := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
	}}
	if isPath(resource) {
		question.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: resource, Verb: verb}
	} else {
		question.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Group: group, Resource: resource,
			Verb: verb, Name: name}
	}
	response, err := r.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, question, metav1.CreateOptions{})
	switch {
	case err != nil:
		return notAsked("subjectaccessreviews.authorization.k8s.io", err)
	case response.Status.Allowed && !response.Status.Denied:
		return nil
	}
	reason := response.Status.Reason
	if reason == "" {
		reason = response.Status.EvaluationError
	}
	return &ForbiddenError{User: user.Username, Verb: verb, Resource: resource, Name: name, Reason: reason}
}

// notAsked explains why there is no response.
func notAsked(resource string, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("galaxy-ipam itself may not create %s; bind the ClusterRole system:auth-delegator to its "+
			"service account: %w", resource, err)
	}
	return fmt.Errorf("ask the API server by %s: %w", resource, err)
}
