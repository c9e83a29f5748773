package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// programs runs plugins' binaries as the CNI project's library does, with one difference: a plugin that has ended is
// done, also when a child that it has left holds its output.
type programs struct {
	version.PluginDecoder
}

// How long output may still come after a plugin has ended, and how long a binary may be busy with being replaced.
const (
	outputDelay = time.Second
	busyPause   = 200 * time.Millisecond
	busyTries   = 10
)

// FindInPath implements invoke.Exec.
func (*programs) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// ExecPlugin implements invoke.Exec.
func (*programs) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	for try := 1; ; try++ {
		var out, errs bytes.Buffer
		c := exec.CommandContext(ctx, path)
		c.Env, c.Stdin, c.Stdout, c.Stderr, c.WaitDelay = environ, bytes.NewReader(stdin), &out, &errs, outputDelay
		err := c.Run()
		switch {
		case err == nil, errors.Is(err, exec.ErrWaitDelay) && c.ProcessState.Success():
			return out.Bytes(), nil
		case errors.Is(err, syscall.ETXTBSY) && try < busyTries && ctx.Err() == nil:
			time.Sleep(busyPause)
		default:
			return nil, failed(err, out.Bytes(), errs.Bytes())
		}
	}
}

// failed is the error of a plugin: what it has printed if that is a CNI error, else what it has said to standard error.
func failed(err error, out, errs []byte) error {
	var said types.Error
	if json.Unmarshal(out, &said) == nil && said.Msg != "" {
		return &said
	}
	if text := bytes.TrimSpace(append(errs, out...)); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
