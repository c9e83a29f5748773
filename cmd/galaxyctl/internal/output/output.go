// Package output is how galaxyctl prints: tables for people, JSON and YAML for programs.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Format is how a command prints.
type Format string

// The formats.
const (
	AsTable Format = "table"
	AsJSON  Format = "json"
	AsYAML  Format = "yaml"
)

// Flag is the flag that chooses a format.
const Flag = "output"

// Words are what the flag may be.
func Words() []string { return []string{string(AsTable), string(AsJSON), string(AsYAML)} }

// Add defines the flag; the value of f is its default.
func (f *Format) Add(flags *pflag.FlagSet) { flags.VarP(f, Flag, "o", "how to print") }

func (f *Format) String() string { return string(*f) }

// Type is what the flag may be, for its help.
func (f *Format) Type() string { return strings.Join(Words(), "|") }

// Set takes one of Words.
func (f *Format) Set(word string) error {
	if !slices.Contains(Words(), word) {
		return fmt.Errorf("want %s", strings.Join(Words(), ", "))
	}
	*f = Format(word)
	return nil
}

// Document prints a value that is not a table: JSON or YAML.
func (f Format) Document(out io.Writer, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("print as %s: %w", f, err)
	}
	text = printable(text)
	if f == AsYAML {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("print as yaml: %w", err)
		}
		_, err = out.Write(text)
		return err
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// Line prints one of many values that are JSON, with what a terminal would obey escaped: in JSON a line each, its other
// bytes as they are; in YAML a document each. One that is no JSON is damaged, and shown so.
func (f Format) Line(out io.Writer, seq uint64, text []byte) error {
	text, err := oneLine(seq, text)
	if err != nil {
		return fmt.Errorf("print as %s: %w", f, err)
	}
	if f == AsYAML {
		document, err := toYAML(text)
		if err != nil {
			return fmt.Errorf("print as yaml: %w", err)
		}
		_, err = fmt.Fprintf(out, "---\n%s", document)
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}
