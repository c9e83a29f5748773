package cli_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"galaxy/cmd/internal/cli"
)

// Whoever calls a program wrongly is answered on standard error, with the exit code for that, by each of them.
func TestUsageErrorsOfAllPrograms(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir, "galaxy/cmd/...")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, line := range []struct{ args, says string }{
		{"galaxy --nonsense", "see galaxy --help"},
		{"galaxy extra", `"extra"`},
		{"galaxy --mtu 1", "--mtu 1"},
		{"galaxy --standalone --master x", "--standalone"},
		{"galaxy-ipam --nonsense", "see galaxy-ipam --help"},
		{"galaxy-ipam extra", `"extra"`},
		{"galaxy-ipam --standalone --kubeconfig x", "--standalone"},
		{"galaxy-ipam --standalone --log-format xml", "--log-format"},
		{"galaxy-ipam --standalone --etcd-user u", "--etcd-password-file"},
		{"galaxyctl --nonsense", "galaxyctl --help"},
		{"galaxyctl log nonsense", "galaxyctl log --help"},
		{"galaxyctl version extra", "one argument too many"},
		{"galaxyctl completion bash extra", "extra"},
		{"galaxy-cni nonsense", "galaxy-cni install"},
		{"galaxy-cni install", "one folder"},
		{"galaxy-sdn nonsense", "galaxy-cni install"}, // it becomes galaxy-cni
		{"galaxy-demo extra", `"extra"`},
	} {
		args := strings.Fields(line.args)
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, args[0]), args[1:]...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != cli.Misuse || !strings.Contains(errs.String(), line.says) ||
			out.Len() > 0 {
			t.Errorf("%s: %v, want exit code %d and %q\n%s%s", line.args, err, cli.Misuse, line.says, out.String(),
				errs.String())
		}
	}
}
