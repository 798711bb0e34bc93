// Package e2e runs the built wanfail, under real keepalived, through the ways in
// which two routers change roles, and looks at the wire and at the kernel for
// what came of it.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/image"
)

// envBinary names a wanfail to test; without it, the one of this checkout is
// built.
const envBinary = "WANFAIL_BINARY"

func TestMain(m *testing.M) { lab.Main(prepare, m.Run) }

// prepare runs on the computer itself, where the Go toolchain is.
func prepare(ctx context.Context) (lab.Inputs, error) {
	in := lab.Inputs{
		Binary: os.Getenv(envBinary),
		Progress: func(f float64, what string) {
			fmt.Fprintf(os.Stderr, "image: %3.0f %% %s\n", f*100, what)
		},
	}
	if in.Binary != "" {
		return in, nil
	}
	root, err := image.Repository()
	if err != nil {
		return in, err
	}
	cache, err := image.Cache()
	if err != nil {
		return in, err
	}
	in.Binary = filepath.Join(cache, "e2e", "wanfail")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", in.Binary, ".")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return in, fmt.Errorf("build wanfail: %w\n%s", err, out)
	}
	return in, nil
}

// world is a lab with what is watched in it.
type world struct {
	*testing.T
	l   *lab.Lab
	tl  *lab.Timeline
	ctx context.Context
}

// build makes a lab that ends with the test. When the test has failed, it
// prints what happened and the routers' logs.
func build(t *testing.T, limit time.Duration, o lab.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not within %v", limit))
	t.Cleanup(cancel)
	l, err := lab.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, l: l, ctx: ctx}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.tl, err = l.Timeline(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.explain()
		}
		if err := w.tl.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// explain prints everything there is to know.
func (w *world) explain() {
	events := w.tl.Events(time.Time{})
	if len(events) == 0 {
		return
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s  %-4s %s\n", e.At.Format("15:04:05.000000"), e.Node, e)
	}
	w.Logf("timeline:\n%s", b.String())
	// The test's context may be what has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i := range 2 {
		if r := w.l.Router(i); r.On() {
			log, err := r.Log(ctx)
			w.Logf("log of %s (%v):\n%s", r.Name, err, log)
		}
	}
}

// must ends the test on an error.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// eventually ends the test when cond does not come true in time.
func (w *world) eventually(what string, cond func() (bool, error)) {
	w.Helper()
	w.must(lab.Eventually(w.ctx, what, cond))
}
