package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// guardsText names the safety rules whose loss a test of their own package must notice. A rule is some lines:
//
//	# what is lost
//	file
//	- what stands in it once; \n and \t are a new line and a tab
//	+ what stands there instead; left out: nothing
//
//go:embed guards.txt
var guardsText string

// guard is a safety rule and the change that loses it.
type guard struct{ what, file, old, new string }

// unescape lets a line stand for several.
var unescape = strings.NewReplacer(`\n`, "\n", `\t`, "\t")

func parseGuards(text string) ([]guard, error) {
	var all []guard
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var g guard
		for _, line := range strings.Split(block, "\n") {
			switch {
			case strings.HasPrefix(line, "# "):
				g.what = line[2:]
			case strings.HasPrefix(line, "- "):
				g.old = unescape.Replace(line[2:])
			case strings.HasPrefix(line, "+ "):
				g.new = unescape.Replace(line[2:])
			case line != "+":
				g.file = line
			}
		}
		if g.what == "" || g.file == "" || g.old == "" {
			return nil, fmt.Errorf("a guard needs three lines, what, file and old: %q", block)
		}
		all = append(all, g)
	}
	return all, nil
}

// mutant applies the change to a tree. White space stands for any other, so that a line may be wrapped.
func (g guard) mutant(root string) (mutant, error) {
	path := filepath.Join(root, g.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return mutant{}, err
	}
	words := strings.Fields(g.old)
	for i, word := range words {
		words[i] = regexp.QuoteMeta(word)
	}
	found := regexp.MustCompile(strings.Join(words, `\s+`)).FindAllIndex(text, 2)
	if len(found) != 1 {
		return mutant{}, fmt.Errorf("guards.txt: %s does not have exactly once: %s", g.file, g.old)
	}
	from, to := found[0][0], found[0][1]
	pos := fmt.Sprintf("%s:%d", path, bytes.Count(text[:from], []byte("\n"))+1)
	changed := slices.Concat(text[:from], []byte(strings.TrimSpace(g.new)), text[to:])
	return mutant{path, pos, g.what, changed}, nil
}

// guards are the mutants of guards.txt, by the folder of their package.
func guards(root string) (map[string][]mutant, error) {
	all, err := parseGuards(guardsText)
	if err != nil {
		return nil, err
	}
	by := map[string][]mutant{}
	for _, g := range all {
		m, err := g.mutant(root)
		if err != nil {
			return nil, err
		}
		dir := filepath.Dir(m.file)
		by[dir] = append(by[dir], m)
	}
	return by, nil
}
