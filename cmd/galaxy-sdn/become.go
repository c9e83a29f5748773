package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"galaxy/wire/terms"
)

const (
	name = "galaxy-sdn" // by which galaxy-cni knows what it shall be
	full = "galaxy-cni"
)

// become has galaxy-cni take this process over, with the input that was read of it put back. It returns only if that
// fails.
func become(read []byte) *terms.Failure {
	self, err := os.Executable()
	if err == nil && read != nil {
		err = putBack(read)
	}
	if err != nil {
		return &terms.Failure{Code: terms.IOFailure, Msg: name + " cannot hand over to " + full + ": " + err.Error()}
	}
	program := filepath.Join(filepath.Dir(self), full)
	err = unix.Exec(program, append([]string{name}, os.Args[1:]...), os.Environ())
	return &terms.Failure{
		Code: terms.IOFailure, Msg: name + " needs " + program + ", which cannot be run: " + err.Error(),
		Details: full + " install " + filepath.Dir(self) +
			", run from where all programs of a release lie, puts both there",
	}
}

// putBack makes standard input what it was before some of it was read.
func putBack(read []byte) error {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	input := os.NewFile(uintptr(fd), name)
	defer input.Close() //nolint:errcheck // it lives on as standard input
	if _, err = io.Copy(input, io.MultiReader(bytes.NewReader(read), os.Stdin)); err != nil {
		return err
	}
	if _, err = input.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return os.NewSyscallError("dup3", unix.Dup3(fd, int(os.Stdin.Fd()), 0))
}
