package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/protoraft/protoraft/cluster"
)

// Exit codes. Scripts depend on them.
const (
	exitOK          = 0
	exitFailed      = 1 // not applied, or the process could not go on
	exitUsage       = 2 // the command line is wrong
	exitUnreachable = 3 // nobody answers, or nobody leads
	exitUnknown     = 4 // the outcome of an operation is not known
)

// exitError is an error with the exit code it ends the process with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func unreachable(format string, args ...any) error {
	return &exitError{code: exitUnreachable, err: fmt.Errorf(format, args...)}
}

// exitCode is what err ends the process with.
func exitCode(err error) int {
	var e *exitError
	var op *cluster.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &op) && errors.Is(err, cluster.ErrNoLeader):
		return exitUnreachable
	case errors.As(err, &op) && op.Outcome == cluster.Unknown:
		return exitUnknown
	default:
		return exitFailed
	}
}

// report prints err as one line and returns the exit code.
func report(stderr io.Writer, command string, err error) int {
	if err == nil {
		return exitOK
	}
	line := command + ": " + oneLine(err.Error())
	code := exitCode(err)
	if code == exitUsage {
		line += fmt.Sprintf(" (see '%s --help')", command)
	}
	fmt.Fprintln(stderr, line)
	return code
}

// oneLine: joined errors come with a line each.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
