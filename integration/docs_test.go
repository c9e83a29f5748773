package integration

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")
	pathName = regexp.MustCompile("`([a-zA-Z][a-z0-9-]*(?:/[a-zA-Z0-9_.-]+)+\\.(?:go|txt|md|yaml))`")
	link     = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	inline   = regexp.MustCompile("`[^`\n]*`")
	eventRow = regexp.MustCompile("`([A-Z][a-z]+[A-Z][A-Za-z]+)` \\|")
)

// pages are the documents of the project by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range append(names, "../README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	if len(texts) < 5 {
		t.Fatalf("only %d pages were found", len(texts))
	}
	return texts
}

// functions are the names of all functions of the project.
func functions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// What the documents point to is there: tests, files, pages.
func TestDocumentsPointToWhatIsThere(t *testing.T) {
	known := functions(t)
	for page, text := range pages(t) {
		for _, found := range testName.FindAllStringSubmatch(text, -1) {
			if !known[found[1]] {
				t.Errorf("%s names %s, which is no test of this project", page, found[1])
			}
		}
		for _, found := range pathName.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", found[1])); err != nil {
				t.Errorf("%s names a file that is not there: %v", page, err)
			}
		}
		for _, found := range link.FindAllStringSubmatch(inline.ReplaceAllString(text, "``"), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
				t.Errorf("%s links to a page that is not there: %v", page, err)
			}
		}
	}
}

// The public format names every event that there is, and no other.
func TestLogFormatIsComplete(t *testing.T) {
	text := pages(t)["../docs/log-format.md"]
	documented := map[string]bool{}
	for _, found := range eventRow.FindAllStringSubmatch(text, -1) {
		documented[found[1]] = true
	}
	written := map[string]bool{}
	for _, s := range sources(t) {
		if s.path != "eventlog/types.go" && s.path != "eventlog/nodes.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Type") {
				written[strings.TrimPrefix(spec.Names[0].Name, "Type")] = true
			}
			return true
		})
	}
	if len(written) == 0 {
		t.Fatal("no event types were found: they have moved")
	}
	for name := range written {
		if !documented[name] {
			t.Errorf("docs/log-format.md has no line for %s", name)
		}
	}
	for name := range documented {
		if !written[name] {
			t.Errorf("docs/log-format.md has a line for %s, which is not written", name)
		}
	}
}
