package keeper_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
)

// OpenWrt's protocol handler sends SIGHUP whenever netifd starts, which may be the
// moment in which the keeper does. It survives that, and heeds it once it can.
func TestHangupWhileStarting(t *testing.T) {
	r := newRig(t, false)
	// It reads its configuration before anything else, and here that takes a while.
	fifo := filepath.Join(r.state, "fifo.conf")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(r.conf())
	if err != nil {
		t.Fatal(err)
	}
	cmd := r.command(nil, "--config", fifo, "keeper")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	in, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns when it reads
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	r.eventually("backup", 10*time.Second, func() bool {
		_ = cmd.Process.Signal(unix.SIGHUP)
		select {
		case err := <-done:
			t.Fatalf("the keeper has ended: %v", err)
		default:
		}
		return r.settled(intent.Backup)
	})
}
