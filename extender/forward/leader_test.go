package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"galaxy/allocator"
	"galaxy/eventlog"
	"galaxy/extender"
	"galaxy/extender/forward"
)

// candidate is a replica that may lead, and whose commands fail as a test says.
type candidate struct {
	extender.Replica
	leads atomic.Bool
	fails error
}

func (c *candidate) Leading() bool { return c.leads.Load() }

func (c *candidate) Do(context.Context, string, allocator.Command) (allocator.Result, error) {
	return allocator.Result{}, c.fails
}

// election is a replica, and whom it takes for the leader.
type election struct {
	*forward.Forwarder
	me     *candidate
	leader atomic.Pointer[string] // its address
	reads  atomic.Int64
}

// follow makes a replica that takes a server for the leader.
func follow(t *testing.T, leader *httptest.Server) *election {
	e := &election{me: new(candidate)}
	e.take(leader)
	e.Forwarder = forward.New(forward.Config{
		Replica: e.me, Identity: "me", Pause: time.Millisecond, Recheck: time.Millisecond,
		Leader: func(context.Context) (forward.Peer, error) {
			e.reads.Add(1)
			return forward.Peer{REST: *e.leader.Load()}, nil
		},
	})
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func (e *election) take(leader *httptest.Server) {
	address := strings.TrimPrefix(leader.URL, "http://")
	e.leader.Store(&address)
}

// patient is a route whose time is never up in a test that passes.
func patient() forward.Route {
	r := route()
	r.Limit, r.Within = 1<<20, time.Minute
	return r
}

func (e *election) ask(body string) *httptest.ResponseRecorder {
	return post(e.ToLeader(patient(), served, always), body)
}

// serve starts a leader that counts what it is asked.
func serve(t *testing.T, handler func(w http.ResponseWriter, r *http.Request, attempt int64)) (*httptest.Server, *atomic.Int64) {
	asked := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(w, r, asked.Add(1))
	}))
	t.Cleanup(server.Close)
	return server, asked
}

func say(text string) func(http.ResponseWriter, *http.Request, int64) {
	return func(w http.ResponseWriter, _ *http.Request, _ int64) { _, _ = io.WriteString(w, text) }
}

// A response of which nothing was passed back is asked for again, of whoever leads then.
func TestAskedAgain(t *testing.T) {
	for name, fail := range map[string]http.HandlerFunc{
		"it does not lead": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Galaxy-Not-Leader", "it")
			http.Error(w, "not I", http.StatusServiceUnavailable)
		},
		"its response breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "a part")
		},
		"its connection breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			next, _ := serve(t, say("the next leader"))
			var e *election
			first, asked := serve(t, func(w http.ResponseWriter, r *http.Request, _ int64) {
				e.take(next)
				fail(w, r)
			})
			e = follow(t, first)
			if w := e.ask("{}"); w.Code != http.StatusOK || w.Body.String() != "the next leader" ||
				w.Header().Get("X-Galaxy-Not-Leader") != "" || asked.Load() == 0 {
				t.Errorf("%d %v %s; the former leader was asked %d times", w.Code, w.Header(), w.Body, asked.Load())
			}
		})
	}
}

// What the leader has answered comes back as it is, a failure included; headers of its connection do not.
func TestPassedBack(t *testing.T) {
	long := strings.Repeat("0123456789abcde\n", 3<<16) // 3 MiB
	for _, body := range []string{"", "short", long[:1<<20-1], long[:1<<20], long[:1<<20+1], long} {
		var sent http.Header
		leader, asked := serve(t, func(w http.ResponseWriter, r *http.Request, _ int64) {
			sent = r.Header
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Keep-Alive", "timeout=5")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, body)
		})
		e := follow(t, leader)
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/x", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("Te", "trailers")
		e.ToLeader(patient(), served, always).ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Body.String() != body || asked.Load() != 1 ||
			w.Header().Get("Retry-After") != "7" || w.Header().Get("Keep-Alive") != "" {
			t.Errorf("%d of %d bytes: %d %v, asked %d times", w.Body.Len(), len(body), w.Code, w.Header(), asked.Load())
		}
		if sent.Get("Authorization") != "Bearer t" || sent.Get("Te") != "" || sent.Get(forward.HeaderForwardedBy) != "me" {
			t.Errorf("the leader is sent %v", sent)
		}
	}
}

// Once a part of a response was passed back, the client's connection breaks off where the leader's did.
func TestCutLate(t *testing.T) {
	leader, asked := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
		w.Header().Set("Content-Length", fmt.Sprint(3<<20))
		_, _ = w.Write(make([]byte, 2<<20))
	})
	e := follow(t, leader)
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) || asked.Load() != 1 {
			t.Errorf("%v after %d attempts, want %v after 1", err, asked.Load(), http.ErrAbortHandler)
		}
	}()
	t.Errorf("a part was taken for the whole: %d bytes", e.ask("{}").Body.Len())
}

// A leader that says nothing is waited for while it leads, and no longer.
func TestHangs(t *testing.T) {
	for name, change := range map[string]func(*election, *httptest.Server){
		"another leads":  func(e *election, next *httptest.Server) { e.take(next) },
		"this one leads": func(e *election, _ *httptest.Server) { e.me.leads.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			hung := make(chan struct{})
			leader, asked := serve(t, func(_ http.ResponseWriter, r *http.Request, _ int64) {
				_, _ = io.Copy(io.Discard, r.Body) // a server sees a caller go only behind the body
				hung <- struct{}{}
				<-r.Context().Done()
			})
			next, _ := serve(t, say("here"))
			e := follow(t, leader)
			var ended sync.WaitGroup
			ended.Go(func() {
				if w := e.ask("{}"); w.Code != http.StatusOK || w.Body.String() != "here" {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
			<-hung
			for looks := e.reads.Load() + 3; e.reads.Load() < looks; { // at a leader that is still the one
				time.Sleep(time.Millisecond)
			}
			if asked.Load() != 1 {
				t.Error("a leader that takes its time was asked twice")
			}
			change(e, next)
			ended.Wait()
		})
	}
}

// Whoever leads answers by itself, in the words of its handler.
func TestServedHere(t *testing.T) {
	leader, asked := serve(t, say("the leader"))
	e := follow(t, leader)
	e.me.leads.Store(true)
	w := post(e.ToLeader(patient(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Own", "1")
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK)
		_, _ = fmt.Fprintf(w, "%s of %d", body, r.ContentLength)
	}), always), "{}")
	if w.Code != http.StatusTeapot || w.Body.String() != "{} of 2" || w.Header().Get("X-Own") != "1" || asked.Load() != 0 {
		t.Errorf("%d %v %s, passed on %d times", w.Code, w.Header(), w.Body, asked.Load())
	}
	w = post(e.ToLeader(patient(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "all is well")
		w.WriteHeader(http.StatusTeapot) // too late
	}), always), "{}")
	if w.Code != http.StatusOK || w.Body.String() != "all is well" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A replica that was deposed while it decided has its own response forgotten, and the next leader asked; a command that
// failed for another reason is answered as it is.
func TestDeposed(t *testing.T) {
	for fails, want := range map[error]string{
		allocator.ErrNotLeader: "the leader", eventlog.ErrFenced: "the leader", eventlog.ErrOutcomeUnknown: "the leader",
		errors.New("no such pool"): "no such pool",
	} {
		t.Run(fails.Error(), func(t *testing.T) {
			leader, _ := serve(t, say("the leader"))
			e := follow(t, leader)
			e.me.leads.Store(true)
			e.me.fails = fails
			replica := e.Watched(e.me)
			local := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := replica.Do(r.Context(), "test", allocator.DeletePool{})
				e.me.leads.Store(false)
				w.Header().Set("X-Own", "1")
				_, _ = io.WriteString(w, err.Error())
			})
			own := ""
			if want != "the leader" {
				own = "1"
			}
			if w := post(e.ToLeader(patient(), local, always), "{}"); w.Body.String() != want || w.Header().Get("X-Own") != own {
				t.Errorf("%d %v %s, want %s", w.Code, w.Header(), w.Body, want)
			}
		})
	}
}

// The outcome of a command whose caller went away is unknown for that reason, and says nothing of who leads.
func TestCallerWentAway(t *testing.T) {
	leader, asked := serve(t, say("the leader"))
	e := follow(t, leader)
	e.me.fails = eventlog.ErrOutcomeUnknown
	replica := e.Watched(e.me)
	post(e.IfUndecided(patient(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		_, _ = replica.Do(ctx, "test", allocator.DeletePool{})
		if forward.KeepBody(r.Context(), bytes.NewBufferString("{}")) {
			t.Error("the body is kept for the leader")
		}
	})), "{}")
	if asked.Load() != 0 {
		t.Errorf("the leader was asked %d times", asked.Load())
	}
}

// What another replica has passed on is decided here or refused, and never passed on again.
func TestPassedOnOnce(t *testing.T) {
	leader, asked := serve(t, say("the leader"))
	for name, handler := range map[string]func(*election) http.Handler{
		"to leader":    func(e *election) http.Handler { return e.ToLeader(patient(), served, always) },
		"if undecided": func(e *election) http.Handler { return e.IfUndecided(patient(), served) },
	} {
		e := follow(t, leader)
		for _, leads := range []bool{false, true} {
			e.me.leads.Store(leads)
			r := httptest.NewRequest(http.MethodPost, "/v1/x", strings.NewReader("{}"))
			r.Header.Set(forward.HeaderForwardedBy, "another")
			w := httptest.NewRecorder()
			handler(e).ServeHTTP(w, r)
			if refused := w.Code == http.StatusServiceUnavailable && w.Header().Get("X-Galaxy-Not-Leader") == "me" &&
				strings.Contains(w.Body.String(), "me does not lead"); refused == leads {
				t.Errorf("%s, leading %t: %d %v %s", name, leads, w.Code, w.Header(), w.Body)
			}
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests were passed on again", asked.Load())
	}
}

// Who leads is read once for all requests that wait, remembered, and read again when it is doubted.
func TestReadsOfTheLeader(t *testing.T) {
	leader, _ := serve(t, say("the leader"))
	e := follow(t, leader)
	reading, free := make(chan struct{}, 1), make(chan struct{})
	reads := e.Leader
	e.Leader = func(ctx context.Context) (forward.Peer, error) {
		select {
		case reading <- struct{}{}:
		default:
		}
		<-free
		return reads(ctx)
	}
	e.Recheck = time.Minute
	const callers = 50
	var all, started sync.WaitGroup
	started.Add(callers)
	for range callers {
		all.Go(func() {
			started.Done()
			if w := e.ask("{}"); w.Body.String() != "the leader" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	started.Wait()
	<-reading
	close(free)
	all.Wait()
	before := e.reads.Load()
	if before > callers/2 { // who comes as a read ends may begin another
		t.Errorf("%d reads for %d callers", before, callers)
	}
	e.ask("{}")
	if e.reads.Load() != before {
		t.Error("what was read a moment ago was read again")
	}
	e.Forget()
	time.Sleep(2 * e.Pause) // within a pause nobody is read twice
	e.ask("{}")
	if e.reads.Load() != before+1 {
		t.Errorf("%d reads after a doubt, want 1", e.reads.Load()-before)
	}
}

// A Forwarder that is told no times has times of its own, and one that is told them keeps to them.
func TestTimes(t *testing.T) {
	if f := forward.New(forward.Config{}); f.Pause != forward.DefaultPause || f.Recheck != forward.DefaultRecheck {
		t.Errorf("pause %s, recheck %s", f.Pause, f.Recheck)
	}
	if f := forward.New(forward.Config{Pause: 2, Recheck: 3}); f.Pause != 2 || f.Recheck != 3 {
		t.Errorf("pause %d, recheck %d", f.Pause, f.Recheck)
	}
}

// A route without a time of its own takes as long as the request that it came with.
func TestWithoutATime(t *testing.T) {
	leader, _ := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(w, "the leader")
	})
	r := patient()
	r.Within = 0
	if w := post(follow(t, leader).ToLeader(r, served, always), "{}"); w.Body.String() != "the leader" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// When the time of a request is up, it is told what was wrong, and not that the last attempt was cut short.
func TestWhatWasWrong(t *testing.T) {
	var attempts atomic.Int64
	f := forward.New(forward.Config{Replica: follower{}, Identity: "me", Pause: time.Millisecond,
		Leader: func(ctx context.Context) (forward.Peer, error) {
			if attempts.Add(1) < 3 {
				return forward.Peer{}, errors.New("nobody leads")
			}
			<-ctx.Done()
			return forward.Peer{}, ctx.Err()
		}})
	if w := post(f.ToLeader(route(), served, always), "{}"); !strings.Contains(w.Body.String(), "nobody leads") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A leader that does not say where it is reached is asked by nobody, and the response names that.
func TestLeaderWithoutAddress(t *testing.T) {
	f, _ := forwarder(t, "127.0.0.1:1")
	r := route()
	r.Port = func(forward.Peer) string { return "" }
	if w := post(f.ToLeader(r, served, always), "{}"); w.Code != http.StatusGatewayTimeout ||
		!strings.Contains(w.Body.String(), "does not say where it is reached") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
