package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a file with one change for the worse.
type mutant struct {
	file, pos, what string
	text            []byte
}

// mutants are all changes of a package that its tests ought to notice.
func (p pkg) mutants() ([]mutant, error) {
	var all []mutant
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(text), "// Code generated") {
			continue
		}
		made, err := mutantsOf(path, text)
		if err != nil {
			return nil, err
		}
		all = append(all, made...)
	}
	return all, nil
}

// mutantsOf are the changes of one file.
func mutantsOf(path string, text []byte) ([]mutant, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	m := &maker{path: path, text: text, files: files}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			m.guard(n)
		case *ast.BinaryExpr:
			m.operator(n)
		case *ast.ExprStmt:
			m.call(n)
		case *ast.CaseClause:
			m.cases(n)
		}
		return true
	})
	return m.made, nil
}

type maker struct {
	path  string
	text  []byte
	files *token.FileSet
	made  []mutant
}

// change replaces what stands from one position to another.
func (m *maker) change(from, to token.Pos, with, what string) {
	start, end := m.files.Position(from), m.files.Position(to)
	text := append([]byte(nil), m.text[:start.Offset]...)
	text = append(append(text, with...), m.text[end.Offset:]...)
	m.made = append(m.made, mutant{m.path, fmt.Sprintf("%s:%d", m.path, start.Line), what, text})
}

func (m *maker) source(n ast.Node) string {
	return string(m.text[m.files.Position(n.Pos()).Offset:m.files.Position(n.End()).Offset])
}

// guard takes a guard out. What only hands an error on is left alone: it would need a fault in each library that is
// called.
func (m *maker) guard(n *ast.IfStmt) {
	cond := m.source(n.Cond)
	if strings.Contains(cond, "err != nil") || strings.Contains(cond, "err == nil") {
		return
	}
	m.change(n.Cond.Pos(), n.Cond.End(), "false && ("+cond+")", "never: if "+cond)
	m.change(n.Cond.Pos(), n.Cond.End(), "true || ("+cond+")", "always: if "+cond)
}

// cases takes a case of a switch without a value out.
func (m *maker) cases(n *ast.CaseClause) {
	if len(n.List) != 1 {
		return
	}
	cond := m.source(n.List[0])
	if !strings.ContainsAny(cond, "=<>&|!") || strings.Contains(cond, "err != nil") ||
		strings.Contains(cond, "err == nil") {
		return
	}
	m.change(n.List[0].Pos(), n.List[0].End(), "false && ("+cond+")", "never: case "+cond)
}

var others = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+",
}

// operator puts another operator in place of one.
func (m *maker) operator(n *ast.BinaryExpr) {
	other, known := others[n.Op]
	source := m.source(n)
	if !known || strings.Contains(source, `"`) || strings.Contains(source, "err != nil") ||
		strings.Contains(source, "err == nil") {
		return
	}
	m.change(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), other, n.Op.String()+" → "+other+" in "+source)
}

// unheard are calls that tests need not hear of.
var unheard = []string{"log.", "Log.", ".Debug(", ".Info(", ".Warn(", ".Error(", "Close(", "Stop(", "cancel(",
	"Helper(", "Unlock(", "Lock(", "panic("}

// call leaves a call out.
func (m *maker) call(n *ast.ExprStmt) {
	source := m.source(n)
	for _, u := range unheard {
		if strings.Contains(source, u) {
			return
		}
	}
	first, _, _ := strings.Cut(source, "\n")
	m.change(n.Pos(), n.End(), "_ = 0", "left out: "+first)
}
