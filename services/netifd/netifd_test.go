package netifd

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Exit codes of ubus as it is run here, without a terminal.
const (
	exitNotFound         = "252"
	exitPermissionDenied = "250"
	exitNotSupported     = "248"
	exitUnknownError     = "247"
	exitNoObject         = "4" // netifd does not run
)

// stage builds a root with a handler and a ubus that records each call, one
// line an argument and `--` after the last, and then exits with the next line
// of the file `exits`, or with 0.
func stage(t *testing.T) (n *Notifier, root string) {
	t.Helper()
	root = t.TempDir()
	write(t, filepath.Join(root, handlerPath), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(root, ubusPath), `#!/bin/sh
printf '%s\n' "$@" -- >>"${0%/bin/ubus}/calls"
code=$(head -n 1 "${0%/bin/ubus}/exits" 2>/dev/null)
[ -z "$code" ] || sed -i 1d "${0%/bin/ubus}/exits"
[ "$code" != hang ] || exec sleep 60
[ -z "$code" ] || echo "Command failed: ubus $* (test)" >&2
exit "${code:-0}"
`, 0o755)
	n = detect(root, 219)
	if n == nil {
		t.Fatal("netifd not detected")
	}
	return n, root
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func calls(t *testing.T, root string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for call := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\n--\n"), "\n--\n") {
		args := strings.Split(call, "\n")
		if len(args) != 4 || args[0] != "call" || args[1] != "network.interface" || args[2] != "notify_proto" {
			t.Errorf("ubus was called with %q", args)
		}
		out = append(out, args[len(args)-1])
	}
	return out
}

func TestUp(t *testing.T) {
	n, root := stage(t)
	err := n.Up(context.Background(), "isp", Lease{
		Addr:      netip.MustParsePrefix("198.51.100.23/24"),
		Broadcast: netip.MustParseAddr("198.51.100.255"),
		Routes: []Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("198.51.100.1"), Metric: 10},
			{Dst: netip.MustParsePrefix("10.1.0.0/16"), Metric: 10},
			{Dst: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("203.0.113.1"), OnLink: true},
		},
		DNS:    []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("149.112.112.112")},
		Search: []string{"isp.example", "evil.example\nnameserver 6.6.6.6", "isp.example", "-x", "a b", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"interface":"isp","action":0,"link-up":true,"ifname":"isp","address-external":true,"keep":false,` +
		`"ipaddr":[{"ipaddr":"198.51.100.23","mask":"24","broadcast":"198.51.100.255"}],` +
		`"routes":[{"target":"0.0.0.0","netmask":"0","gateway":"198.51.100.1","metric":10,"proto":"219"},` +
		`{"target":"10.1.0.0","netmask":"16","metric":10,"proto":"219"},` +
		`{"target":"192.0.2.0","netmask":"24","gateway":"203.0.113.1","metric":0,"proto":"219","onlink":true}],` +
		`"dns":["9.9.9.9","149.112.112.112"],"dns_search":["isp.example"]}`
	if got := calls(t, root); len(got) != 1 || got[0] != want {
		t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

func TestDown(t *testing.T) {
	n, root := stage(t)
	if err := n.Down(context.Background(), "isp"); err != nil {
		t.Fatal(err)
	}
	want := `{"interface":"isp","action":0,"link-up":false}`
	if got := calls(t, root); len(got) != 1 || got[0] != want {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// While netifd tears the interface down it refuses an update. An Up waits for
// the end of that, a Down has nothing left to ask for.
func TestTeardown(t *testing.T) {
	lease := Lease{Addr: netip.MustParsePrefix("198.51.100.23/24")}
	n, root := stage(t)
	write(t, filepath.Join(root, "exits"), exitPermissionDenied+"\n6\n", 0o644)
	if err := n.Up(context.Background(), "isp", lease); err != nil {
		t.Fatal(err)
	}
	if got := calls(t, root); len(got) != 3 || got[0] != got[2] {
		t.Errorf("calls %q, want the same one three times", got)
	}

	n, root = stage(t)
	write(t, filepath.Join(root, "exits"), exitPermissionDenied+"\n", 0o644)
	if err := n.Down(context.Background(), "isp"); err != nil {
		t.Fatal(err)
	}
	if got := calls(t, root); len(got) != 1 {
		t.Errorf("calls %q, want one", got)
	}
}

func TestErrors(t *testing.T) {
	lease := Lease{Addr: netip.MustParsePrefix("198.51.100.23/24")}
	n, root := stage(t)
	write(t, filepath.Join(root, "exits"), exitNotFound+"\n"+exitNoObject+"\n"+exitNotSupported+"\n"+exitUnknownError+"\n", 0o644)
	for range 3 {
		err := n.Up(context.Background(), "isp", lease)
		if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "config interface 'isp'") {
			t.Errorf("unknown interface: %v", err)
		}
	}
	err := n.Up(context.Background(), "isp", lease)
	if err == nil || !strings.HasSuffix(err.Error(), "exit status 247: test") {
		t.Errorf("failed call: %v", err)
	}

	write(t, filepath.Join(root, "exits"), "hang\n", 0o644)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = n.Up(ctx, "isp", lease)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging netifd: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("hanging netifd held us for %v", took)
	}

	if err := os.Remove(filepath.Join(root, ubusPath)); err != nil {
		t.Fatal(err)
	}
	if err := n.Down(context.Background(), "isp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without ubus: %v", err)
	}
}

func TestDetect(t *testing.T) {
	if detect(t.TempDir(), 219) != nil {
		t.Error("detected netifd in an empty root")
	}
	for _, path := range []string{ubusPath, handlerPath} {
		_, root := stage(t)
		if err := os.Chmod(filepath.Join(root, path), 0o644); err != nil {
			t.Fatal(err)
		}
		if detect(root, 219) != nil {
			t.Errorf("detected netifd although %s cannot be executed", path)
		}
	}
}
