package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groupsFD is the file descriptor at which the inside finds the folder of its
// control groups.
const groupsFD = 3

// groupPrefix begins the name of each control group of a lab.
const groupPrefix = "wanfail-lab-"

// controlGroups are what a systemd in a machine needs as its own root. Control
// groups are the one thing that the kernel does not remove with the last process
// in them, so a janitor process waits for that, whatever happens to us.
type controlGroups struct {
	dir, inside *os.File
	janitor     *exec.Cmd
	life        io.Closer // the janitor works when the last copy of it is closed
}

// makeControlGroups creates a control group below our own.
func makeControlGroups() (*controlGroups, error) {
	own, err := ownGroup()
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(own, groupPrefix)
	if err != nil {
		return nil, fmt.Errorf("create control group (the lab needs root): %w", err)
	}
	g := &controlGroups{}
	if err := g.start(path); err != nil {
		return nil, errors.Join(err, removeGroups(path))
	}
	return g, nil
}

func (g *controlGroups) start(path string) (err error) {
	if err := os.Mkdir(filepath.Join(path, "inside"), 0o755); err != nil {
		return err
	}
	if g.dir, err = os.Open(path); err != nil {
		return err
	}
	if g.inside, err = os.Open(filepath.Join(path, "inside")); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	g.life = w
	g.janitor = exec.Command("/proc/self/exe")
	g.janitor.Args[0] = "wanfail-lab-janitor"
	g.janitor.Env = []string{envStage + "=" + stageJanitor, envSpec + "=" + path}
	g.janitor.Stdin, g.janitor.Stderr = r, os.Stderr
	// A session of its own: signals for our process group do not reach it.
	g.janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := g.janitor.Start(); err != nil {
		return errors.Join(fmt.Errorf("start janitor: %w", err), w.Close())
	}
	return nil
}

// close lets the janitor work and waits for it.
func (g *controlGroups) close() error {
	return errors.Join(g.dir.Close(), g.inside.Close(), g.life.Close(), g.janitor.Wait())
}

// janitorMain waits for the end of the lab, then removes its control groups.
func janitorMain() error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	// The processes were killed a moment ago; a control group is free when the
	// kernel has let go of the last one.
	path := os.Getenv(envSpec)
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := removeGroups(path)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeGroups removes a control group and those below it. Its files are not
// files: only the folders can, and must, be removed.
func removeGroups(path string) error {
	var dirs []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if e := unix.Rmdir(dirs[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, &os.PathError{Op: "rmdir", Path: dirs[i], Err: e})
		}
	}
	return err
}

// ownGroup is the folder of our own control group (version 2).
func ownGroup() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	s := bufio.NewScanner(mounts)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		for line := range strings.Lines(string(self)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				return filepath.Join(f[1], path), nil
			}
		}
	}
	return "", errors.Join(s.Err(), errors.New("this computer has no control groups version 2 mounted, which the lab's machines need"))
}
