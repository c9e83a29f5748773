package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"galaxy/durable"
)

// machineID is a word that no other machine has, and that this one keeps.
func machineID(given, stateDir string) (string, error) {
	if given != "" {
		return given, nil
	}
	if text, err := os.ReadFile("/etc/machine-id"); err == nil && strings.TrimSpace(string(text)) != "" {
		return strings.TrimSpace(string(text)), nil
	}
	file := filepath.Join(stateDir, "machine-id")
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return string(text), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("machine id: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := durable.WriteFile(file, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("machine id: %w", err)
	}
	return id, nil
}

// hostLock is a name of unix(7)'s abstract namespace, which belongs to a network namespace and ends with the process.
const hostLock = "@galaxy/agent"

// hostLockWait is how long the agent before this one may take to end.
const hostLockWait = 5 * time.Second

// holdHost makes this process the one agent of its network namespace: of two, each would undo what the other has made.
func holdHost() (io.Closer, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: hostLock})
	for waited := time.Duration(0); errors.Is(err, unix.EADDRINUSE) &&
		waited < hostLockWait; waited += 100 * time.Millisecond {
		time.Sleep(100 * time.Millisecond)
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: hostLock})
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, errors.New("another galaxy agent runs on this host: stop it first (ss -xlp | grep galaxy/agent " +
			"shows it)")
	}
	if err != nil {
		return nil, fmt.Errorf("become the one agent of this host: %w", err)
	}
	return listener, nil
}

// bootID is the kernel's word for this boot of this machine, and the network namespace in which this agent runs: what
// machines do not share that are containers on one kernel. "" where the kernel has no word.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	boot := strings.TrimSpace(string(text))
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &namespace); err != nil {
		return boot
	}
	return fmt.Sprintf("%s:%d", boot, namespace.Ino)
}
