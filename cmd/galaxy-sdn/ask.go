package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"galaxy/plugins/sdn/short"
)

// dial connects to the agent. The socket is one that blocks: nothing else is done meanwhile, and package net takes long
// to start.
func dial(path string) (conn int, err error) {
	conn, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = limit(conn, unix.SO_SNDTIMEO, short.Patience)
	if err == nil {
		err = again(func() error { return unix.Connect(conn, &unix.SockaddrUnix{Name: path}) })
	}
	if err != nil {
		_ = unix.Close(conn) // nothing was sent
		return -1, err
	}
	return conn, nil
}

// ask sends a question and gives all that comes until the connection ends; broken says why, if the agent has not ended
// it.
func ask(conn int, question []byte, within time.Duration) (text []byte, broken string) {
	err := limit(conn, unix.SO_SNDTIMEO, within)
	if err == nil {
		err = limit(conn, unix.SO_RCVTIMEO, within)
	}
	if err == nil {
		err = send(conn, question)
	}
	if err == nil || errors.Is(err, unix.EPIPE) { // an agent that does not want to read it all may have said why
		text, err = receive(conn)
	}
	switch {
	case err == nil:
		return text, ""
	case errors.Is(err, unix.EAGAIN):
		return text, "no response within " + within.String()
	}
	return text, err.Error()
}

func limit(conn, option int, within time.Duration) error {
	value := unix.NsecToTimeval(within.Nanoseconds())
	return unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, option, &value)
}

func send(conn int, text []byte) error {
	for len(text) > 0 {
		var n int
		err := again(func() (err error) {
			n, err = unix.Write(conn, text)
			return err
		})
		if err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func receive(conn int) (text []byte, err error) {
	part := make([]byte, 16<<10)
	for len(text) < short.MaxResponse {
		var n int
		err := again(func() (err error) {
			n, err = unix.Read(conn, part)
			return err
		})
		if err != nil || n == 0 {
			return text, err
		}
		text = append(text, part[:n]...)
	}
	return text, nil
}

// again repeats a call that a signal has interrupted; Go's runtime sends itself some.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
