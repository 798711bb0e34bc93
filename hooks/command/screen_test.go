package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// pty opens a terminal of 24 rows and 60 columns.
func pty() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60}); err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return os.NewFile(uintptr(fd), "ptmx"), slave, err
}

// watch-screen runs `status --watch` on a terminal, interrupts it once it has
// drawn, and checks what it did to the terminal.
func (r *router) cmdWatchScreen(ts *testscript.TestScript, neg bool, args []string) {
	master, slave, err := pty()
	ts.Check(err)
	defer master.Close()
	defer slave.Close()
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	ts.Check(err)
	cmd := r.command(ts, []string{"status", "--watch"})
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout, cmd.Stderr = slave, slave
	r.do(cmd.Start)
	out := &lines{}
	go func() { // ends with the terminal
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = out.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	text := out.String
	r.await(ts, "two frames", func() bool { return strings.Count(text(), "\x1b[J") >= 2 }) // the second is a tick of the clock
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("status --watch: %v", err)
	}
	r.await(ts, "restored screen", func() bool { return strings.HasSuffix(text(), "\x1b[?25h\x1b[?1049l") })
	all := text()
	if !strings.HasPrefix(all, "\x1b[?1049h\x1b[?25l") {
		ts.Fatalf("does not enter a screen of its own: %.40q", all)
	}
	for _, f := range strings.Split(all, "\x1b[H")[1:] {
		rows := strings.Split(f, "\r\n")
		if len(rows) > 24 {
			ts.Fatalf("%d rows", len(rows))
		}
		for _, row := range rows {
			row = strings.TrimRight(row, "\r") // the terminal's own, before its \n
			if bare := []rune(regexp.MustCompile("\x1b\\[[?0-9]*[a-zA-Z]").ReplaceAllString(row, "")); len(bare) > 60 {
				ts.Fatalf("%d columns: %q", len(bare), string(bare))
			}
		}
	}
	colour := strings.Contains(all, "\x1b[36m")
	if want := ts.Getenv("NO_COLOR") == ""; colour != want {
		ts.Fatalf("colour %t, want %t", colour, want)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	ts.Check(err)
	if *before != *after {
		ts.Fatalf("terminal modes changed")
	}
	_, _ = ts.Stdout().Write(bytes.ToValidUTF8([]byte(all), nil))
}
