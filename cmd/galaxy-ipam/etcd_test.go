package main

import (
	"errors"
	"strings"
	"testing"

	"galaxy/eventlog/etcdlog/embedded"
)

// What fills up is reported before it is full, and what is refused says why.
func TestFullness(t *testing.T) {
	var f fullness
	if f.refusing() != "" || len(f.todo()) != 0 {
		t.Errorf("of nothing: %q %q", f.refusing(), f.todo())
	}
	const mib = 1 << 20
	good := embedded.Room{Total: 1000 * mib, Free: 500 * mib, Reserve: 50 * mib}
	low, out := good, good
	low.Free = 90 * mib
	out.Free, out.Refusing = 40*mib, true
	for i, c := range []struct {
		room  embedded.Room
		err   error
		news  bool
		says  string
		block bool
	}{
		{good, nil, false, "", false}, {low, nil, true, "90 MiB of 1000 MiB", false},
		{low, nil, false, "90 MiB", false},
		{out, nil, true, "nothing is written until there are 62 MiB", true}, {good, nil, true, "", false},
		{good, errors.New("no such folder"), true, "no such folder", false},
	} {
		if news := f.noteRoom(c.room, c.err); news != c.news {
			t.Errorf("%d: news %t", i, news)
		}
		todo := strings.Join(f.todo(), "\n")
		if (todo == "") != (c.says == "") || !strings.Contains(todo, c.says) || (f.refusing() != "") != c.block {
			t.Errorf("%d: %q, refusing %q", i, todo, f.refusing())
		}
	}
	f.noteRoom(good, nil)
	for _, c := range []struct {
		member member
		says   string
	}{
		{member{size: 10 * mib, quota: 100 * mib}, ""},
		{member{size: 81 * mib, quota: 100 * mib}, "81 MiB of its quota of 100 MiB"},
		{member{size: 81 * mib}, ""}, // an etcd that does not report its quota
		{member{size: mib, quota: 100 * mib, errs: []string{"memberID:1 alarm:NOSPACE"}}, "alarm:NOSPACE"},
	} {
		f.noteMember("http://a:2379", c.member)
		if todo := strings.Join(f.todo(), "\n"); (todo == "") != (c.says == "") || !strings.Contains(todo, c.says) {
			t.Errorf("%+v: %q", c.member, todo)
		}
	}
}
