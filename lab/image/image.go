// Package image makes the Debian system that the machines of the lab run, with
// debootstrap, once: it is cached by a hash of its recipe and never written to
// afterwards.
package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Environment variables that users set.
const (
	// EnvImage names a finished image; nothing is looked up or built then.
	EnvImage = "LAB_IMAGE"
	// EnvCache names the folder of images instead of .cache/lab in the repository.
	EnvCache = "LAB_CACHE"
)

// Progress is told how far a build is, from 0 to 1, and what it does.
type Progress func(fraction float64, what string)

// Ensure returns the folder of the image, building it first when it is not in
// the cache. Several processes may call it at once: one builds, the others
// wait. It needs root and debootstrap only to build.
func Ensure(ctx context.Context, progress Progress) (string, error) {
	if dir := os.Getenv(EnvImage); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "lab-manifest")); err != nil {
			return "", fmt.Errorf("%s is no lab image: %w", EnvImage, err)
		}
		return filepath.Abs(dir)
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, Key())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // built while we waited
	}
	if err := build(ctx, cache, dir, progress); err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	return dir, nil
}

// Cache is the folder that holds the images.
func Cache() (string, error) {
	if dir := os.Getenv(EnvCache); dir != "" {
		return filepath.Abs(dir)
	}
	if root, err := Repository(); err == nil {
		return filepath.Join(root, ".cache", "lab"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder (set %s): %w", EnvCache, err)
	}
	return filepath.Join(dir, "wanfail-lab"), nil
}

// Repository is the root of the checkout that the current folder is in.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/wanfail/wanfail\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside a checkout of wanfail")
		}
		dir = parent
	}
}

// lock waits for the exclusive right to build.
func lock(ctx context.Context, path string, progress Progress) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if !told {
			progress(0, "waiting for another process that builds the image")
		}
		// A blocking flock could not be interrupted by ctx.
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// build makes the image beside its final place and renames it there when it is
// complete. The caller holds the lock, so other unfinished builds are dead.
func build(ctx context.Context, cache, dir string, progress Progress) (err error) {
	debootstrap, err := exec.LookPath("debootstrap")
	if err != nil {
		return fmt.Errorf("%w (apt-get install debootstrap)", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("debootstrap needs root")
	}
	stale, _ := filepath.Glob(filepath.Join(cache, "building-*"))
	for _, s := range stale {
		if err := os.RemoveAll(s); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	debs := filepath.Join(cache, "debs")
	root := filepath.Join(tmp, "root")
	for _, d := range []string{debs, filepath.Join(root, "etc/dpkg/dpkg.cfg.d"), filepath.Join(root, "usr/sbin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/dpkg/dpkg.cfg.d/lab"), []byte(dpkgConfig), 0o644); err != nil {
		return err
	}
	// No daemon is started by its package, now or later.
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil { //nolint:gosec // a script
		return err
	}
	from := mirror(ctx)
	progress(0, "debootstrap "+Suite+" from "+from)
	log := filepath.Join(cache, "build.log")
	if err := run(ctx, log, progress, debootstrap, "--variant=minbase", "--cache-dir="+debs,
		"--include="+strings.Join(packages, ","), Suite, root, from); err != nil {
		return err
	}
	progress(0.98, "finishing")
	// systemd-resolved has put a link to what only exists where it runs.
	if err := copyFile("/etc/resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		return err
	}
	if err := run(ctx, log, progress, "chroot", root, "/bin/sh", "-c", finish); err != nil {
		return err
	}
	if err := os.Rename(root, dir); err != nil {
		return err
	}
	progress(1, "image ready")
	return os.RemoveAll(tmp)
}

// copyFile replaces to, which may be a link into another system.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// run executes a command in mount and PID namespaces of its own, so that what it
// mounts and starts is gone with it, and appends its output to the log file.
func run(ctx context.Context, logfile string, progress Progress, name string, arg ...string) error {
	log, err := os.OpenFile(logfile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// PR_SET_PDEATHSIG is tied to the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// unshare --mount-proc: debootstrap must not see, or signal, other processes.
	args := append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", name}, arg...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(proxyEnv(ctx), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	tail := make(chan []string, 1)
	go func() { tail <- follow(io.TeeReader(r, log), progress) }()
	err = cmd.Run()
	_ = w.Close()
	last := <-tail
	if err != nil {
		return fmt.Errorf("%s: %w (see %s)\n%s", filepath.Base(name), err, logfile, strings.Join(last, "\n"))
	}
	return nil
}

// follow turns debootstrap's output into progress and returns its last lines.
func follow(r io.Reader, progress Progress) (last []string) {
	// Each package is retrieved (unless cached), validated, unpacked and
	// configured; the share of each phase is what was measured.
	count := map[string]int{}
	phases := []struct {
		verb  string
		from  float64
		share float64
	}{
		{"Retrieving", 0, 0.25},
		{"Extracting", 0.25, 0.08},
		{"Unpacking", 0.33, 0.37},
		{"Configuring", 0.70, 0.28},
	}
	expected := map[string]float64{"Retrieving": 190, "Extracting": 70, "Unpacking": 175, "Configuring": 185}
	s := bufio.NewScanner(r)
	for s.Scan() {
		line := strings.TrimPrefix(s.Text(), "I: ")
		if last = append(last, line); len(last) > 12 {
			last = last[1:]
		}
		verb, rest, _ := strings.Cut(line, " ")
		for _, p := range phases {
			if p.verb != verb {
				continue
			}
			count[verb]++
			done := min(float64(count[verb])/expected[verb], 1)
			name, _, _ := strings.Cut(strings.TrimSuffix(rest, "..."), " ")
			progress(p.from+p.share*done, strings.ToLower(verb)+" "+name)
		}
	}
	_, _ = io.Copy(io.Discard, r) // after an overlong line: never block the writer
	return last
}
