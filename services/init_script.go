package services

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/wanfail/wanfail/services/command"
)

// script is an init script and how it tells its state.
type script struct {
	path string
	verb string
	lsb  bool // exit codes of `status` as LSB 3.0 has them
	// begin announces a run to the manager's own watchers.
	begin func() (end func())
}

// maxScript is how much of a script is read to learn its dialect.
const maxScript = 256 << 10

// readScript tells the dialects apart. OpenWrt's scripts are read by rc.common,
// `#!/bin/sh /etc/rc.common`, and have `running` if procd runs their daemon; all
// others are taken for LSB scripts with `status`.
//
// Both dialects answer a verb that they lack with help and any exit code (0 from
// rc.common), which would be taken for a state. So the script must mention it.
func readScript(file string) (script, error) {
	f, err := os.Open(file)
	if err != nil {
		return script{}, fmt.Errorf("read init script: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(io.LimitReader(f, maxScript))
	first, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		return script{}, fmt.Errorf("read init script: %w", err)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		return script{}, fmt.Errorf("read init script: %w", err)
	}
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	if strings.HasPrefix(first, "#!") && len(words) == 2 && path.Base(words[1]) == "rc.common" {
		if !bytes.Contains(rest, []byte("USE_PROCD=")) && !bytes.Contains(rest, []byte("running")) {
			return script{}, fmt.Errorf("%s cannot tell whether its daemon runs: it has no USE_PROCD=1 and no verb `running`", file)
		}
		return script{path: file, verb: "running"}, nil
	}
	if !bytes.Contains(rest, []byte("status")) {
		return script{}, fmt.Errorf("%s cannot tell whether its daemon runs: it has no verb `status`", file)
	}
	return script{path: file, verb: "status", lsb: true}, nil
}

func (s script) run(ctx context.Context, verb string) (output string, err error) {
	if s.begin != nil {
		defer s.begin()()
	}
	return command.Command{Path: s.path, Args: []string{verb}}.Run(ctx)
}

// state asks the script. idle: procd has been told of the service and that there
// is nothing to run for it.
func (s script) state(ctx context.Context) (state State, idle bool, err error) {
	if s.lsb {
		state, err = s.ask(ctx, 3)
		return state, false, err
	}
	out, err := s.run(ctx, "status")
	var exit *exec.ExitError
	code := 0
	switch {
	case err == nil:
	case ctx.Err() == nil && errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		return Stopped, false, err
	}
	if state, idle, known := procdStatus(code, out); known {
		return state, idle, nil
	}
	// The script has a status_service of its own, or does without procd.
	state, err = s.ask(ctx, 125) // from 126 the shell found no program to ask
	return state, false, err
}

// ask takes the exit code of the script's verb for the state. LSB 3.0, "Init
// Script Actions", for status: 0 running, 1 dead with a pid file, 2 dead with a
// lock file, 3 not running, 4 unknown. last is the highest that means stopped.
func (s script) ask(ctx context.Context, last int) (State, error) {
	out, err := s.run(ctx, s.verb)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Running, nil
	case ctx.Err() != nil || !errors.As(err, &exit):
		return Stopped, err
	}
	if code := exit.ExitCode(); 1 <= code && code <= last {
		return Stopped, nil
	}
	return Stopped, fmt.Errorf("%w%s", err, command.Quote(out))
}

// procdStatus understands _procd_status of OpenWrt's procd.sh, in whose answer the
// exit code is not enough: 0 is also a service without a process. `running` would
// not do either, since "not running" is a service that procd starts again after
// 5 s, on a backup too, unless it has crashed too often.
func procdStatus(code int, out string) (state State, idle, known bool) {
	word := strings.TrimSpace(out)
	word = word[strings.LastIndexByte(word, '\n')+1:] // scripts may print something first
	switch {
	case code == 0 && (word == "running" || strings.HasPrefix(word, "running (")): // (1/2): of its instances
		return Running, false, true
	case code == 0 && word == "active with no instances":
		return Stopped, true, true
	case code == 3 && word == "inactive":
		return Stopped, false, true
	case code == 5 && word == "not running":
		return Starting, false, true
	}
	return Stopped, false, false
}
