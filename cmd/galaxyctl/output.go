package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// format is how a command prints.
type format string

const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// enum is a flag that takes one of a few words.
type enum struct {
	to    *string
	words []string
}

func (e *enum) String() string { return *e.to }

func (e *enum) Type() string { return strings.Join(e.words, "|") }

func (e *enum) Set(word string) error {
	if !slices.Contains(e.words, word) {
		return fmt.Errorf("want %s", strings.Join(e.words, ", "))
	}
	*e.to = word
	return nil
}

// enumFlag adds a flag that takes one of a few words, which the shell completes. The value of to is the default.
func enumFlag(cmd *cobra.Command, flags *pflag.FlagSet, to *string, name, short, usage string, words ...string) {
	flags.VarP(&enum{to, words}, name, short, usage)
	complete(cmd, name, words...)
}

// complete tells the shell what a flag may be.
func complete(cmd *cobra.Command, flag string, words ...string) {
	fixed := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // there is no such flag: a mistake in this program, which every test would find
	}
}

// document prints a value that is not a table: JSON or YAML.
func (f format) document(out io.Writer, value any) error {
	if f == formatYAML {
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("print as yaml: %w", err)
		}
		_, err = out.Write(text)
		return err
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("print as json: %w", err)
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// line prints one of many values: in JSON a line each, its bytes as they are; in YAML a document each.
func (f format) line(out io.Writer, text []byte) error {
	if f == formatYAML {
		document, err := yaml.JSONToYAML(text)
		if err != nil {
			return fmt.Errorf("print as yaml: %w", err)
		}
		_, err = fmt.Fprintf(out, "---\n%s", document)
		return err
	}
	_, err := fmt.Fprintf(out, "%s\n", text)
	return err
}
