package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/wanfail/wanfail/lab/bench"
	"github.com/wanfail/wanfail/lab/image"
)

// benchmark is `lab bench`.
type benchmark struct {
	options bench.Options
	binary  string
	out     string // file of the report; empty: stdout
}

func parseBench(args []string, out io.Writer) (b *benchmark, err error) {
	b = &benchmark{}
	fs := flag.NewFlagSet("lab bench", flag.ContinueOnError)
	fs.SetOutput(out)
	var only string
	fs.StringVar(&b.binary, "binary", "./wanfail", "the wanfail to measure")
	fs.StringVar(&b.out, "out", "", "file for the report, relative to the current folder")
	fs.BoolVar(&b.options.Quick, "quick", false, "few rounds")
	fs.StringVar(&only, "only", "", "some of "+strings.Join(bench.Parts, ","))
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", fs.Arg(0))
	}
	if only != "" {
		b.options.Only = strings.Split(only, ",")
	}
	began := time.Now()
	b.options.Tell = func(s string) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), s)
	}
	return b, b.options.Validate()
}

// prepare runs outside.
func (b *benchmark) prepare(ctx context.Context) error {
	root, err := image.Repository()
	if err != nil {
		return err
	}
	return bench.Prepare(ctx, b.options, root, b.binary)
}

// run runs inside. The current folder is that of the caller even where the lab
// has covered its path.
func (b *benchmark) run(ctx context.Context) error {
	results, err := bench.Run(ctx, b.options)
	if err != nil {
		return err
	}
	if b.out == "" {
		return results.Write(os.Stdout)
	}
	var text bytes.Buffer
	if err := results.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(b.out, text.Bytes(), 0o644)
}
