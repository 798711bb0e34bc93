package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// TestMain is a program that logs where TestNew starts it as one.
func TestMain(m *testing.M) {
	if level := os.Getenv("LOG_LEVEL_OF_THIS_TEST"); level != "" {
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			panic(err)
		}
		logLines(New(l))
		return
	}
	nstest.Main(m)
}

func logLines(log *slog.Logger) {
	log = log.With("wan", "wan")
	log.Debug("dhcp state", "to", "bound")
	log.Info("is primary", "by", "keepalived[811] VI_1 MASTER", "took", 12*time.Millisecond)
	log.Warn("cannot start a service", "service", "dnsmasq")
	log.Error("cannot listen", "error", "line\nbreak")
}

// program prepares a process that logs.
func program(t *testing.T, level string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"LOG_LEVEL_OF_THIS_TEST=" + level, "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func stderrOf(t *testing.T, cmd *exec.Cmd, stream func(st unix.Stat_t) string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stderr")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = f
	cmd.Env = append(cmd.Env, "JOURNAL_STREAM="+stream(st))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// The journal gets each line's priority, and no time but its own.
func TestJournal(t *testing.T) {
	got := stderrOf(t, program(t, "debug"), func(st unix.Stat_t) string { return fmt.Sprintf("%d:%d", st.Dev, st.Ino) })
	want := []string{
		`<7>msg="dhcp state" wan=wan to=bound`,
		`<6>msg="is primary" wan=wan by="keepalived[811] VI_1 MASTER" took=12ms`,
		`<4>msg="cannot start a service" wan=wan service=dnsmasq`,
		`<3>msg="cannot listen" wan=wan error="line\nbreak"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A file that took the journal's place gets lines for people.
func TestNotTheJournal(t *testing.T) {
	got := stderrOf(t, program(t, "warn"), func(st unix.Stat_t) string { return fmt.Sprintf("%d:%d", st.Dev, st.Ino+1) })
	if len(got) != 2 || !strings.HasPrefix(got[0], "time=") || !strings.Contains(got[0], ` level=WARN msg="cannot start a service"`) {
		t.Errorf("got %q", got)
	}
}

// Without a reader of stderr the lines go to syslog, with their severity.
func TestSyslog(t *testing.T) {
	path := coverDevLog(t)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if out, err := program(t, "debug").CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 4 {
		t.Fatalf("with a reader: %v: %s", err, out)
	}
	if err := program(t, "info").Run(); err != nil { // exec's stderr is /dev/null
		t.Fatal(err)
	}
	const daemon = 3 << 3
	for _, want := range []string{
		fmt.Sprintf(`<%d> msg="is primary"`, daemon|6), fmt.Sprintf("<%d> msg=\"cannot start a service\"", daemon|4),
		fmt.Sprintf(`<%d> msg="cannot listen"`, daemon|3),
	} {
		buf := make([]byte, 4096)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("no %s: %v", want, err)
		}
		priority, rest, _ := bytes.Cut(buf[:n], []byte(">"))
		_, text, ok := bytes.Cut(rest, []byte("]: "))
		if got := string(priority) + "> " + string(text); !ok || !strings.Contains(string(rest), " wanfail[") || !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", buf[:n], want)
		}
	}
}

// coverDevLog returns where this test may listen as syslog does.
func coverDevLog(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// A /dev of our own, with the one device that programs here need.
	if err := os.WriteFile(filepath.Join(dir, "null"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, m := range [][2]string{{"/dev/null", filepath.Join(dir, "null")}, {dir, "/dev"}} {
		if err := unix.Mount(m[0], m[1], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(m[1], unix.MNT_DETACH) })
	}
	return "/dev/log"
}
