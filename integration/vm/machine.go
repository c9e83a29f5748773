package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"galaxy/integration/debian"
)

// packages are what Debian has for it. The kernel is unpacked into the cache and not installed.
var packages = []string{"qemu-system-x86", "busybox-static", "kmod", "cpio"}

const kernelPackage = "linux-image-cloud-amd64"

// modules are loaded in the guest, with all that they need.
var modules = []string{"ipip", "ip6_tunnel", "veth", "bridge", "dummy", "8021q", "macvlan", "ipvlan", "nft_masq",
	"nft_chain_nat", "nft_ct"}

// Image is a kernel and what boots with it.
type Image struct {
	Kernel  string // file
	Initrd  string // file; a run adds a second archive to it
	Version string
}

// Prepare gives the image, and makes what is not there yet: it installs Debian's packages, unpacks a kernel into the
// cache outside the tree, and packs its modules. It needs root, and Debian. It may run in several processes at once.
func Prepare(ctx context.Context) (Image, error) {
	if err := debian.Install(ctx, packages...); err != nil {
		return Image{}, err
	}
	cache, err := debian.Cache()
	if err != nil {
		return Image{}, err
	}
	unlock, err := debian.Lock(cache, "vm")
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if found, err := newest(cache); found.Kernel != "" || err != nil {
		return found, err
	}
	return makeImage(ctx, cache)
}

// folderPrefix begins the names of images' folders. It changes with what else is packed than a kernel, so that none is
// used that another version of this program has made.
func folderPrefix() string {
	hash := sha256.Sum256(fmt.Append(nil, firstProgram, modules))
	return fmt.Sprintf("vm-%x-", hash[:4])
}

// newest is an image that was made before.
func newest(cache string) (Image, error) {
	found, err := filepath.Glob(filepath.Join(cache, folderPrefix()+"*", "initrd"))
	if err != nil || len(found) == 0 {
		return Image{}, err
	}
	return imageIn(filepath.Dir(found[len(found)-1])), nil
}

func imageIn(dir string) Image {
	return Image{
		Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"),
		Version: strings.TrimPrefix(filepath.Base(dir), folderPrefix()),
	}
}

var kernelName = regexp.MustCompile(`linux-image-[0-9][^ ]*-cloud-amd64`)

// makeImage makes an image in a folder named after the kernel's version, which appears when it is whole.
func makeImage(ctx context.Context, cache string) (Image, error) {
	if _, err := debian.Run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return Image{}, err
	}
	depends, err := debian.Run(ctx, "", "apt-cache", "depends", kernelPackage)
	if err != nil {
		return Image{}, err
	}
	name := kernelName.FindString(depends)
	if name == "" {
		return Image{}, fmt.Errorf("%s depends on no kernel:\n%s", kernelPackage, depends)
	}
	work, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(work) //nolint:errcheck // it is only the cache
	kernel := filepath.Join(work, "kernel")
	if err := debian.Unpack(ctx, kernel, name); err != nil {
		return Image{}, err
	}
	version := strings.TrimPrefix(name, "linux-image-")
	image := filepath.Join(work, "image")
	if err := pack(ctx, kernel, version, image); err != nil {
		return Image{}, err
	}
	final := filepath.Join(cache, folderPrefix()+version)
	if err := os.Rename(image, final); err != nil {
		return Image{}, err
	}
	return imageIn(final), nil
}

// pack puts busybox, the modules and the first program into an archive.
func pack(ctx context.Context, kernel, version, image string) error {
	root := filepath.Join(image, "root")
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp", "modules", "var/run", "root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if _, err := debian.Run(ctx, "", "cp", filepath.Join(kernel, "boot", "vmlinuz-"+version),
		filepath.Join(image, "vmlinuz")); err != nil {
		return err
	}
	if _, err := debian.Run(ctx, "", "cp", "/bin/busybox", filepath.Join(root, "bin", "busybox")); err != nil {
		return err
	}
	order, err := neededModules(ctx, kernel, version)
	if err != nil {
		return err
	}
	var list bytes.Buffer
	for i, file := range order {
		name := strconv.Itoa(i) + ".ko"
		if _, err := debian.Run(ctx, "", "cp", file, filepath.Join(root, "modules", name)); err != nil {
			return err
		}
		fmt.Fprintln(&list, name)
	}
	if err := os.WriteFile(filepath.Join(root, "modules", "order"), list.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "init"), []byte(firstProgram), 0o755); err != nil {
		return err
	}
	if err := archive(ctx, root, filepath.Join(image, "initrd")); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// neededModules are the files of the modules, each after those that it needs.
func neededModules(ctx context.Context, kernel, version string) ([]string, error) {
	if _, err := debian.Run(ctx, "", "depmod", "-b", kernel, version); err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{}
	for _, m := range modules {
		out, err := debian.Run(ctx, "", "modprobe", "-d", kernel, "-S", version, "--show-depends", m)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			words := strings.Fields(line) // insmod, the file, and options that some modules have
			if len(words) > 1 && words[0] == "insmod" && !seen[words[1]] {
				seen[words[1]] = true
				order = append(order, words[1])
			}
		}
	}
	return order, nil
}

// archive makes an archive as the kernel wants it for its first file system.
func archive(ctx context.Context, root, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // cpio's exit code says whether it was written
	cmd := exec.CommandContext(ctx, "sh", "-c", "find . | cpio --quiet -o -H newc")
	cmd.Dir, cmd.Stdout = root, out
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("archive of %s: %w\n%s", root, err, said.String())
	}
	return nil
}

// firstProgram is what the kernel starts: it loads the modules, runs the test in its folder, says how that has ended,
// and stops the machine. What it runs is in the second archive.
const firstProgram = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp GALAXY_VM=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
while read -r module; do insmod /modules/$module || echo "GUEST cannot load $module"; done < /modules/order
ip link set lo up
cd /guest/folder && sh /guest/command
echo "GUEST exit code $?"
poweroff -f
`
