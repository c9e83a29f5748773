package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// source is one Go file of the project, parsed in this process: the go command as a child would be invisible to the
// test cache, and a stale result would pass.
type source struct {
	path  string // from the root of the module, with slashes
	room  string // its folder
	test  bool
	lines int
	set   *token.FileSet
	file  *ast.File
}

// imports are the paths that the file imports.
func (s source) imports() []string {
	paths := make([]string, len(s.file.Imports))
	for i, spec := range s.file.Imports {
		paths[i], _ = strconv.Unquote(spec.Path.Value) // the parser has accepted it
	}
	return paths
}

func (s source) line(at token.Pos) int { return s.set.Position(at).Line }

var parsed = sync.OnceValues(func() ([]source, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	var all []source
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != root || entry.Name() == "testdata" ||
			entry.Name() == "bin"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		s, err := parse(root, path)
		all = append(all, s)
		return err
	})
	return all, err
})

func parse(root, path string) (source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return source{}, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return source{}, err
	}
	name = filepath.ToSlash(name)
	room := ""
	if cut := strings.LastIndexByte(name, '/'); cut >= 0 {
		room = name[:cut]
	}
	return source{
		path: name, room: room, test: strings.HasSuffix(name, "_test.go"), lines: strings.Count(string(text), "\n"),
		set: set, file: file,
	}, nil
}

// sources are all Go files of the project.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files were found: this test looks in the wrong place", len(all))
	}
	return all
}
