package integration

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// Bounds that keep a file and a function readable in one sitting.
const (
	mostLines         = 600
	mostFunctionLines = 80
)

// Every package says in a sentence what it is.
func TestPackagesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, seen := documented[s.room]; !seen {
			documented[s.room] = false
		}
		if doc := s.file.Doc.Text(); doc != "" {
			documented[s.room] = true
			want := "Package " + s.file.Name.Name + " "
			if s.file.Name.Name == "main" {
				want = "Command " + s.room[strings.LastIndexByte(s.room, '/')+1:] + " "
			}
			if !strings.HasPrefix(doc, want) {
				t.Errorf("%s: the package comment begins with %.30q, want %q", s.path, doc, want)
			}
		}
	}
	for room, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment; a doc.go with one sentence will do", room)
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if ast.IsGenerated(s.file) {
			continue // nobody reads it
		}
		if s.lines > mostLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it holds", s.path, s.lines, mostLines)
		}
		if s.test {
			continue // a table of cases is one function
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := s.line(f.End()) - s.line(f.Pos()) + 1; lines > mostFunctionLines {
				t.Errorf("%s:%d %s has %d lines, more than %d", s.path, s.line(f.Pos()), f.Name.Name, lines,
					mostFunctionLines)
			}
		}
	}
}

// leftovers is spelled so that this file does not match itself.
var leftovers = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

// What is left to do stands in an issue, not in a comment that nobody reads.
func TestNothingIsLeftOpen(t *testing.T) {
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if found := leftovers.FindString(c.Text); found != "" {
					t.Errorf("%s:%d says %s: do it, or open an issue", s.path, s.line(c.Pos()), found)
				}
			}
		}
	}
}

// An exported name without a comment is a contract without a text.
func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" || ast.IsGenerated(s.file) {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d)) {
					t.Errorf("%s:%d %s has no comment", s.path, s.line(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if typ, ok := spec.(*ast.TypeSpec); ok && d.Doc == nil && typ.Doc == nil && typ.Comment == nil &&
						typ.Name.IsExported() {
						t.Errorf("%s:%d type %s has no comment", s.path, s.line(typ.Pos()), typ.Name.Name)
					}
				}
			}
		}
	}
}

// wellKnown are methods that need no words.
var wellKnown = map[string]bool{"Error": true, "String": true, "Unwrap": true, "Write": true, "Close": true,
	"Read": true, "Set": true, "Type": true}

func exportedReceiver(f *ast.FuncDecl) bool {
	if wellKnown[f.Name.Name] {
		return false
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}
