package extendertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"galaxy/eventlog"
)

type unauthenticated struct{ error }

func (unauthenticated) Unauthenticated() {}

// Unauthenticated is the error for a token that nobody is known by.
func Unauthenticated(text string) error { return unauthenticated{errors.New(text)} }

type forbidden struct{ error }

func (forbidden) Forbidden() {}

// Forbidden is the error for somebody who may not do that.
func Forbidden(text string) error { return forbidden{errors.New(text)} }

// Judge is an Authorizer that notes what it is asked.
type Judge struct {
	mu    sync.Mutex
	asked []string
	User  string
	Err   error
}

// Authorize notes what it is asked.
func (j *Judge) Authorize(_ context.Context, token, verb, resource, name string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, strings.Join([]string{token, verb, resource, name}, " "))
	return j.User, j.Err
}

// Last is what it was asked last; "" when it was not asked since.
func (j *Judge) Last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.asked) == 0 {
		return ""
	}
	last := j.asked[len(j.asked)-1]
	j.asked = nil
	return last
}

// NewestCause is why the newest event was written.
func NewestCause(t testing.TB, log eventlog.Log) string {
	t.Helper()
	head, err := log.Head(t.Context(), eventlog.StreamIPAM)
	if err != nil {
		t.Fatal(err)
	}
	cause := ""
	for records, err := range log.Read(t.Context(), eventlog.StreamIPAM, head.Seq-1, head.Seq) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			_, cause, _ = strings.Cut(string(r.Bytes), `"cause":"`)
			cause, _, _ = strings.Cut(cause, `"`)
		}
	}
	return cause
}

// Bearer is the header of a request with a token.
var Bearer = map[string]string{"Authorization": "Bearer t0k3n"}
