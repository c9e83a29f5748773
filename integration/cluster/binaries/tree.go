package binaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "galaxy/integration/cluster"

// tree is where the modules are on this machine.
type tree struct {
	root  string // module galaxy
	tools string // the module that pins the programs of the cluster
}

// findTree asks the go command, which runs tests in their folders and programs where they were called.
func findTree(ctx context.Context) (tree, error) {
	dir, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return tree{}, fmt.Errorf("find the module %s, in which this must run: %w", module, err)
	}
	return tree{root: filepath.Join(dir, "..", ".."), tools: filepath.Join(dir, "tools")}, nil
}

// versionFlag stamps the version of Kubernetes, since API discovery and the caller of the metrics would see v0.0.0.
const versionFlag = "-s -w -X k8s.io/component-base/version.gitVersion=%[1]s -X " +
	"k8s.io/client-go/pkg/version.gitVersion=%[1]s" +
	" -X k8s.io/component-base/version.gitMajor=%[2]s -X k8s.io/component-base/version.gitMinor=%[3]s" +
	" -X k8s.io/component-base/version.gitTreeState=clean"

// versionFlags are the flags for the linker, by the version that go.mod pins.
func (t tree) versionFlags(ctx context.Context) (string, error) {
	version, err := goCommand(ctx, t.tools, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return "", fmt.Errorf("version of Kubernetes: %w", err)
	}
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 3 {
		return "", fmt.Errorf("version of Kubernetes: %q has not three parts", version)
	}
	return fmt.Sprintf(versionFlag, version, parts[0], parts[1]), nil
}

// goCommand runs the go command in a folder and gives what it prints. When it fails, the error holds its last words.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(err, cause)
		}
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, lastLines(stderr.String(), 20))
	}
	return strings.TrimSpace(out.String()), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
