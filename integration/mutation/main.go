// Command mutation asks whether a package's own tests notice when its code is changed for the worse: a guard taken out,
// a condition turned round, a call left out. It changes no file: the go command is given each mutant as an overlay.
//
//	go run ./integration/mutation -each 12 ./eventlog/... ./allocator
//
// A mutant that the package's tests fail on, or never end on, is caught; one that they pass on has lived, and is
// printed. Its exit code is 0 whatever lives. With -guards it tries the safety rules of guards.txt instead of a draw.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

type options struct {
	each    int
	seed    uint64
	timeout time.Duration
	only    string
	list    bool
	guards  bool
}

func main() {
	var o options
	flag.IntVar(&o.each, "each", 12, "mutants of a package, drawn among all that are possible; 0 for all")
	flag.Uint64Var(&o.seed, "seed", 1, "of the draw")
	flag.DurationVar(&o.timeout, "timeout", 3*time.Minute, "for the tests of one mutant")
	flag.StringVar(&o.only, "only", "", "only mutants whose position (file:line) contains this")
	flag.BoolVar(&o.list, "list", false, "print the mutants, and try none")
	flag.BoolVar(&o.guards, "guards", false, "try the safety rules of guards.txt, and draw none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, patterns []string) error {
	if len(patterns) == 0 {
		return fmt.Errorf("name the packages to mutate, as ./eventlog/... does")
	}
	packages, err := list(ctx, patterns)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	named, err := guards(root)
	if err != nil {
		return err
	}
	var all score
	var failed []error
	for _, p := range packages {
		mutants := named[p.Dir]
		if !o.guards {
			if mutants, err = o.draw(p); err != nil {
				return err
			}
		}
		s, err := o.tryAll(ctx, p, mutants)
		if ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
		all.add(s)
		if s.tried() > 0 && !o.list {
			fmt.Printf("%-40s %s\n", p.ImportPath, s)
		}
	}
	if !o.list {
		fmt.Printf("%-40s %s\n", "in all", all)
	}
	return errors.Join(failed...)
}

// pkg is a package that has tests.
type pkg struct {
	ImportPath, Dir string
	GoFiles         []string
	TestGoFiles     []string
	XTestGoFiles    []string
}

// usesRapid reports whether the package's tests take the flags of pgregory.net/rapid.
func (p pkg) usesRapid() bool {
	for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err == nil && bytes.Contains(text, []byte(`"pgregory.net/rapid"`)) {
			return true
		}
	}
	return false
}

func list(ctx context.Context, patterns []string) ([]pkg, error) {
	out, err := exec.CommandContext(ctx, "go",
		append([]string{"list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles"}, patterns...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			return nil, err
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			all = append(all, p)
		}
	}
	return all, nil
}

// draw is some of the mutants of a package, in the order in which they are tried: more than are wanted, as some do not
// build.
func (o options) draw(p pkg) ([]mutant, error) {
	mutants, err := p.mutants()
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.seed, uint64(len(p.ImportPath))))
	random.Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
	return mutants, nil
}

func (o options) tryAll(ctx context.Context, p pkg, mutants []mutant) (s score, err error) {
	var failed []error // rules that cannot be tried
	for _, m := range mutants {
		if !o.guards && o.each > 0 && s.tried() == o.each {
			break
		}
		if !strings.Contains(m.pos, o.only) {
			continue
		}
		if o.list {
			fmt.Printf("%s: %s\n", m.pos, m.what)
			s.caught++
			continue
		}
		outcome, err := o.try(ctx, p, m)
		if err != nil {
			return s, err
		}
		s.count(outcome)
		switch {
		case outcome == lived:
			fmt.Printf("LIVED   %s: %s\n", m.pos, m.what)
		case outcome == unbuildable && o.guards:
			failed = append(failed, fmt.Errorf("guards.txt: %s: it does not build: %s", m.pos, m.what))
		}
	}
	return s, errors.Join(failed...)
}

type outcome int

const (
	caught outcome = iota
	lived
	unbuildable // no mutant at all
)

// try runs a package's tests with one file changed.
func (o options) try(ctx context.Context, p pkg, m mutant) (outcome, error) {
	scratch, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // it is a scratch folder
	changed, overlay, binary := filepath.Join(scratch, "mutant.go"), filepath.Join(scratch, "overlay.json"),
		filepath.Join(scratch, "test")
	path, err := filepath.Abs(m.file)
	if err != nil {
		return 0, err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(changed, m.text, 0o600); err != nil {
		return 0, err
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		return 0, err
	}
	if err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary,
		p.ImportPath).Run(); err != nil {
		return unbuildable, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, o.timeout) // tests that never end have noticed, too
	defer cancel()
	arguments := []string{"-test.failfast", "-test.short", "-test.timeout", o.timeout.String()}
	if p.usesRapid() {
		arguments = append(arguments, "-rapid.nofailfile") // nothing is left in testdata
	}
	test := exec.CommandContext(limited, binary, arguments...)
	test.Dir, test.WaitDelay = p.Dir, time.Second
	if err := test.Run(); err != nil {
		return caught, ctx.Err()
	}
	return lived, nil
}

type score struct{ caught, lived int }

func (s score) tried() int { return s.caught + s.lived }

func (s *score) count(o outcome) {
	switch o {
	case caught:
		s.caught++
	case lived:
		s.lived++
	}
}

func (s *score) add(o score) { s.caught, s.lived = s.caught+o.caught, s.lived+o.lived }

func (s score) String() string {
	return fmt.Sprintf("%3d of %3d caught, %3d %%", s.caught, s.tried(), 100*s.caught/max(1, s.tried()))
}
