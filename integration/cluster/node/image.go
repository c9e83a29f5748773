package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Images that a node has. PodImage is a small system of busybox with the program
// cmd/pod, and also what the runtime keeps a pod's namespaces with.
const (
	PodImage   = "galaxy.test/pod:1"
	AgentImage = "galaxy.test/agent:1"
)

// files are what an image holds, by the path in it.
type files map[string]file

type file struct {
	text []byte
	mode int64
	link string // instead of text
}

// busybox is a system of nothing but busybox.
func busybox() (files, error) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	list, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("applets of busybox: %w", err)
	}
	system := files{
		"bin/busybox": {text: text, mode: 0o755}, "tmp/.keep": {mode: 0o644}, "var/run": {link: "/run"},
		"run/.keep":           {mode: 0o644},
		"etc/passwd":          {text: []byte("root:x:0:0:root:/:/bin/sh\n"), mode: 0o644},
		"usr/local/bin/.keep": {mode: 0o644},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			system["bin/"+applet] = file{link: "busybox"}
		}
	}
	return system, nil
}

// podProgram builds what runs in pods.
func podProgram(dir string) (string, error) {
	at := filepath.Join(dir, "pod")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", at, "galaxy/integration/cluster/cmd/pod")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program of pods: %w\n%s", err, out)
	}
	return at, nil
}

var libraryPath = regexp.MustCompile(`/[^ ]+`)

// agentFiles add to a system what the image of the agent has: the programs, and nft with its libraries, in place of the
// packages of a distribution.
func agentFiles(system files, programs ...string) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return err
	}
	libraries, err := exec.Command("ldd", nft).Output()
	if err != nil {
		return fmt.Errorf("libraries of nft: %w", err)
	}
	for _, at := range append(libraryPath.FindAllString(string(libraries), -1), nft) {
		if err := system.add(strings.TrimPrefix(at, "/"), at); err != nil {
			return err
		}
	}
	for _, at := range programs {
		if err := system.add("usr/local/bin/"+filepath.Base(at), at); err != nil {
			return err
		}
	}
	return nil
}

func (f files) add(name, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f[name] = file{text: text, mode: 0o755}
	return nil
}

// archive is an image in the form that docker save writes and ctr reads.
func (f files) archive(name string) ([]byte, error) {
	layer, err := f.layer()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Cmd": []string{"/bin/sleep", "infinity"},
		},
		"rootfs": map[string]any{"type": "layers",
			"diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{name},
		"Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return files{"config.json": {text: config, mode: 0o644}, "layer.tar": {text: layer, mode: 0o644},
		"manifest.json": {text: manifest, mode: 0o644}}.layer()
}

// layer is a tar archive, the same for the same files.
func (f files) layer() ([]byte, error) {
	var names []string
	folders := map[string]bool{".": true}
	for name := range f {
		names = append(names, name)
		for dir := path.Dir(name); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			names = append(names, dir)
		}
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		header := &tar.Header{Name: name, Mode: f[name].mode, Size: int64(len(f[name].text)), Typeflag: tar.TypeReg}
		switch {
		case folders[name]:
			header.Typeflag, header.Mode, header.Name = tar.TypeDir, 0o755, name+"/"
		case f[name].link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f[name].link, 0o777
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := w.Write(f[name].text); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
