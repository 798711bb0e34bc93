package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// TestMain runs the tests in a mount namespace with a /run of their own.
func TestMain(m *testing.M) {
	if !printBoot() {
		nstest.Main(m)
	}
}

const user = 1000

// place is a directory below the private /run, as root's own directories are.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "test")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string, mode os.FileMode, uid int) {
	t.Helper()
	must(t, os.Mkdir(path, 0o700))
	must(t, os.Chown(path, uid, uid))
	must(t, os.Chmod(path, mode))
}

// withUmask runs f under a umask.
func withUmask(mask int, f func()) {
	defer unix.Umask(unix.Umask(mask))
	f()
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Mode().Perm()
}

// asUser runs f on a thread of another user. The thread ends with it.
func asUser(t *testing.T, uid int, f func()) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread's user is another one now
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				t.Error(errno)
				return
			}
		}
		f()
	})
	wg.Wait()
}

// TestVerify: what another user could change is refused, as component and as link.
func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(base string) (dir string)
		want string // part of the message; empty: accepted
	}{
		{"root's", func(b string) string { mkdir(t, b+"/d", 0o755, 0); return b + "/d" }, ""},
		{"for root alone", func(b string) string { mkdir(t, b+"/d", 0o700, 0); return b + "/d" }, ""},
		{"missing", func(b string) string { return b + "/d" }, "no such file"},
		{"a user's", func(b string) string { mkdir(t, b+"/d", 0o755, user); return b + "/d" }, "/d belongs to uid 1000"},
		{"in a user's", func(b string) string {
			mkdir(t, b+"/u", 0o755, user)
			mkdir(t, b+"/u/d", 0o755, 0)
			return b + "/u/d"
		}, "/u belongs to uid 1000"},
		{"writable by all", func(b string) string { mkdir(t, b+"/d", 0o777, 0); return b + "/d" }, "writable by others (mode 0777)"},
		{"writable by a group", func(b string) string { mkdir(t, b+"/d", 0o775, 0); return b + "/d" }, "writable by others (mode 0775)"},
		{"sticky itself", func(b string) string { mkdir(t, b+"/d", 0o777|os.ModeSticky, 0); return b + "/d" }, "writable by others (mode 1777)"},
		{"in a sticky one", func(b string) string {
			mkdir(t, b+"/tmp", 0o777|os.ModeSticky, 0)
			mkdir(t, b+"/tmp/d", 0o755, 0)
			return b + "/tmp/d"
		}, ""},
		{"a user's in a sticky one", func(b string) string {
			mkdir(t, b+"/tmp", 0o777|os.ModeSticky, 0)
			mkdir(t, b+"/tmp/d", 0o755, user)
			return b + "/tmp/d"
		}, "/tmp/d belongs to uid 1000"},
		{"in one without the sticky bit", func(b string) string {
			mkdir(t, b+"/open", 0o777, 0)
			mkdir(t, b+"/open/d", 0o755, 0)
			return b + "/open/d"
		}, "/open is writable by others"},
		{"through root's link, as OpenWrt's /var", func(b string) string {
			mkdir(t, b+"/tmp", 0o777|os.ModeSticky, 0)
			mkdir(t, b+"/tmp/run", 0o755, 0)
			mkdir(t, b+"/tmp/run/d", 0o755, 0)
			must(t, os.Symlink("tmp", b+"/var"))
			return b + "/var/run/d"
		}, ""},
		{"through root's absolute link", func(b string) string {
			mkdir(t, b+"/real", 0o755, 0)
			mkdir(t, b+"/real/d", 0o755, 0)
			must(t, os.Symlink(b+"/real", b+"/var"))
			return b + "/var/d"
		}, ""},
		{"through a link to a user's", func(b string) string {
			mkdir(t, b+"/u", 0o755, user)
			must(t, os.Symlink("u/../u", b+"/var"))
			return b + "/var/d"
		}, "/u belongs to uid 1000"},
		{"through a user's link", func(b string) string {
			mkdir(t, b+"/tmp", 0o777|os.ModeSticky, 0)
			mkdir(t, b+"/d", 0o755, 0)
			must(t, os.Symlink("../d", b+"/tmp/link"))
			must(t, os.Lchown(b+"/tmp/link", user, user))
			return b + "/tmp/link"
		}, "/tmp/link belongs to uid 1000"},
		{"links in a circle", func(b string) string {
			must(t, os.Symlink("b", b+"/a"))
			must(t, os.Symlink("a", b+"/b"))
			return b + "/a"
		}, "too many levels"},
		{"a file", func(b string) string { must(t, os.WriteFile(b+"/d", nil, 0o644)); return b + "/d" }, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := At(c.make(place(t)))
			err := d.Verify()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			// Nothing in it is read, written, locked or listened to.
			_, read := d.Intents().Read(100)
			_, lock := d.KeeperLock().Open()
			_, listen := d.Listen()
			_, dial := d.Dial(t.Context())
			for what, err := range map[string]error{"Read": read, "Write": d.Intents().Write(nil), "Lock.Open": lock, "Listen": listen, "Dial": dial} {
				if err == nil {
					t.Errorf("%s succeeds", what)
				}
			}
			if entries, _ := os.ReadDir(d.String()); len(entries) > 0 {
				t.Errorf("it holds %v", entries)
			}
		})
	}
}

// TestMake: the mode is the directory's own, not the umask's.
func TestMake(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o177, 0o777} {
		withUmask(mask, func() {
			base := place(t)
			d := At(base + "/a/b")
			must(t, d.Make())
			must(t, d.Make()) // again
			must(t, d.ResolvConf().Write([]byte("nameserver 192.0.2.1\n")))
			must(t, d.Lease("wan").Write([]byte("{}")))
			for path, want := range map[string]os.FileMode{base + "/a": 0o755, base + "/a/b": 0o755, base + "/a/b/resolv.conf": 0o644, base + "/a/b/wan.lease": 0o600} {
				if got := mode(t, path); got != want {
					t.Errorf("umask %04o: %s has mode %04o, want %04o", mask, path, got, want)
				}
			}
			asUser(t, user, func() {
				if b, err := os.ReadFile(d.Path("resolv.conf")); err != nil || len(b) == 0 {
					t.Errorf("umask %04o: a user reads resolv.conf: %v", mask, err)
				}
			})
		})
	}
	t.Run("left by a umask", func(t *testing.T) {
		base := place(t)
		mkdir(t, base+"/d", 0o600, 0)
		must(t, At(base+"/d").Make())
		if got := mode(t, base+"/d"); got != 0o755 {
			t.Errorf("mode %04o", got)
		}
	})
	t.Run("chosen by the administrator", func(t *testing.T) {
		base := place(t)
		mkdir(t, base+"/d", 0o750, 0)
		must(t, At(base+"/d").Make())
		if got := mode(t, base+"/d"); got != 0o750 {
			t.Errorf("mode %04o", got)
		}
	})
	t.Run("in a user's directory", func(t *testing.T) {
		base := place(t)
		mkdir(t, base+"/u", 0o755, user)
		var unsafe *UnsafeError
		if err := At(base + "/u/d").Make(); !errors.As(err, &unsafe) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Lstat(base + "/u/d"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it was made: %v", err)
		}
	})
	t.Run("at once", func(t *testing.T) {
		d := At(filepath.Join(place(t), "a/b/c"))
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if err := d.Make(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// TestPlanted: links, FIFOs and files of another user under the names of ours
// neither lead out of the directory nor make anybody wait. They can be there only
// if the directory was that user's before.
func TestPlanted(t *testing.T) {
	setup := func(t *testing.T) (d Dir, secret string) {
		d = At(place(t) + "/d")
		must(t, d.Make())
		secret = filepath.Join(place(t), "shadow")
		must(t, os.WriteFile(secret, []byte("secret"), 0o600))
		return d, secret
	}
	intact := func(t *testing.T, secret string) {
		t.Helper()
		if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" || mode(t, secret) != 0o600 {
			t.Errorf("the file outside holds %q with mode %04o, %v", b, mode(t, secret), err)
		}
	}
	t.Run("link to an existing file", func(t *testing.T) {
		d, secret := setup(t)
		for _, name := range []string{IntentFile, IntentFile + ".new", "keeper.lock", "start.lock", SocketFile, "wan.lease", "wan.lease.new"} {
			must(t, os.Symlink(secret, d.Path(name)))
		}
		if b, err := d.Intents().Read(100); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("read %q, %v", b, err)
		}
		if f, err := d.KeeperLock().Open(); err == nil {
			t.Errorf("locked %s", f.Name())
		}
		must(t, d.Intents().Write([]byte("new"))) // replaces the links
		must(t, d.Lease("wan").Write([]byte("new")))
		if b, err := d.Intents().Read(100); err != nil || string(b) != "new" {
			t.Errorf("read %q, %v", b, err)
		}
		l, err := d.Listen()
		must(t, err)
		must(t, l.Close())
		intact(t, secret)
	})
	t.Run("link to a file that is not there", func(t *testing.T) {
		d, secret := setup(t)
		target := secret + ".made"
		for _, name := range []string{IntentFile + ".new", "keeper.lock", "resolv.conf.new"} {
			must(t, os.Symlink(target, d.Path(name)))
		}
		must(t, d.Intents().Write([]byte("new")))
		must(t, d.ResolvConf().Write([]byte("new")))
		if _, err := d.KeeperLock().Open(); err == nil {
			t.Error("the link was locked")
		}
		if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made: %v", target, err)
		}
	})
	t.Run("FIFO", func(t *testing.T) {
		d, _ := setup(t)
		for _, name := range []string{IntentFile, "keeper.lock"} {
			must(t, unix.Mkfifo(d.Path(name), 0o600))
		}
		if _, err := d.Intents().Read(100); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("read: %v", err)
		}
		if _, err := d.KeeperLock().Open(); err == nil {
			t.Error("the FIFO was locked")
		}
	})
	t.Run("a user's file", func(t *testing.T) {
		d, _ := setup(t)
		must(t, os.WriteFile(d.Path(IntentFile), []byte("{}"), 0o644))
		must(t, os.Chown(d.Path(IntentFile), user, user))
		if _, err := d.Intents().Read(100); err == nil || !strings.Contains(err.Error(), "belongs to uid 1000") {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("writable by others", func(t *testing.T) {
		d, _ := setup(t)
		must(t, os.WriteFile(d.Path(IntentFile), []byte("{}"), 0o644))
		must(t, os.Chmod(d.Path(IntentFile), 0o666))
		if _, err := d.Intents().Read(100); err == nil || !strings.Contains(err.Error(), "writable by others") {
			t.Errorf("read: %v", err)
		}
	})
}

// TestFile: the whole life of a file.
func TestFile(t *testing.T) {
	d := At(place(t) + "/d")
	f := d.Intents()
	if _, err := f.Read(100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	if err := f.Write(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	must(t, f.Remove())
	must(t, d.Make())
	if _, err := f.Read(100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	must(t, f.Write([]byte("0123456789")))
	if b, err := f.Read(10); err != nil || string(b) != "0123456789" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := f.Read(9); err == nil {
		t.Error("a longer file was read")
	}
	must(t, os.WriteFile(f.String()+".new", []byte("half"), 0o600))
	f.Tidy()
	must(t, os.WriteFile(f.String()+".new", []byte("half"), 0o600))
	must(t, f.Write([]byte("next")))
	must(t, f.Remove())
	if entries, err := os.ReadDir(d.String()); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	// What is in the way of a replacement leaves nothing unfinished.
	must(t, os.Mkdir(f.String(), 0o755))
	if err := f.Write([]byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Lstat(f.String() + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left the unfinished file: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b"} {
		if _, err := (Lock{d, name}).Open(); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
	if _, err := d.Lease("../../etc/passwd").Read(100); err == nil {
		t.Error("a name led out of the directory")
	}
}
