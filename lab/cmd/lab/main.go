// Command lab builds the lab's image and shows failovers in it.
//
//	lab image                  build the image if need be, print its folder
//	lab demo [flags]           show a failover
//	lab bench [flags]          measure wanfail against what people use today
//	lab pictures FOLDER        draw what the README shows
//
// It needs root, debootstrap and Linux; it leaves nothing behind but the image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/demo"
	"github.com/wanfail/wanfail/lab/image"
)

const usage = `usage: lab image
       lab demo [--scenario crash|stop|failback] [--binary FILE] [flags]
       lab bench [--quick] [--only PARTS] [--out FILE] [--binary FILE]
       lab pictures [--binary FILE] FOLDER
`

// The program starts itself again for each part of the lab, so Main comes first
// and the arguments are read twice: outside and inside.
func main() { lab.Main(prepare, run) }

type arguments struct {
	demo     bool
	bench    *benchmark // nil: something else
	pictures string     // folder; empty: something else
	binary   string
	scenario lab.Scenario
	sessions int
	plain    bool
	options  lab.Options
}

func parse(args []string, out io.Writer) (a arguments, err error) {
	if len(args) == 0 {
		fmt.Fprint(out, usage)
		return a, errors.New("no command")
	}
	fs := flag.NewFlagSet("lab "+args[0], flag.ContinueOnError)
	fs.SetOutput(out)
	switch args[0] {
	case "image":
	case "pictures":
		fs.StringVar(&a.binary, "binary", "./wanfail", "the wanfail to show")
		if err := fs.Parse(args[1:]); err != nil {
			return a, err
		}
		if a.pictures = fs.Arg(0); fs.NArg() != 1 {
			return a, errors.New("pictures needs one folder")
		}
		return a, nil
	case "bench":
		if a.bench, err = parseBench(args[1:], out); err == nil {
			a.binary = a.bench.binary
		}
		return a, err
	case "demo":
		a.demo = true
	default:
		fmt.Fprint(out, usage)
		return a, fmt.Errorf("unknown command %q", args[0])
	}
	var scenario, backend, scheme, isp string
	if a.demo {
		fs.StringVar(&scenario, "scenario", string(lab.Crash), "crash, stop or failback")
		fs.StringVar(&a.binary, "binary", "./wanfail", "the wanfail to show")
		fs.StringVar(&backend, "backend", string(lab.Systemd), "systemd or init: what runs the routers' services")
		fs.StringVar(&scheme, "scheme", string(lab.Wanfail), "wanfail, script (primary-backup.sh) or careful (the same with a stop hook)")
		fs.StringVar(&isp, "isp", string(lab.Dnsmasq), "the ISP's DHCP server: dnsmasq, kea, isc or udhcpd")
		fs.DurationVar(&a.options.Advert, "advert", 100*time.Millisecond, "VRRP's advert interval")
		fs.BoolVar(&a.options.Conntrackd, "conntrackd", true, "replicate sessions between the routers")
		fs.IntVar(&a.sessions, "sessions", 20, "TCP sessions, half of them pushed by the server")
		fs.BoolVar(&a.plain, "plain", false, "lines instead of a screen")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return a, err
	}
	if fs.NArg() > 0 {
		return a, fmt.Errorf("what is %q?", fs.Arg(0))
	}
	if !a.demo {
		return a, nil
	}
	a.options.Backend, a.options.Scheme, a.options.ISPServer = lab.Backend(backend), lab.Scheme(scheme), lab.Server(isp)
	if a.options.Scheme != lab.Wanfail {
		a.binary = ""
	}
	if a.scenario, err = lab.ParseScenario(scenario); err != nil {
		return a, err
	}
	if a.sessions < 1 {
		return a, errors.New("at least one session")
	}
	return a, a.options.Validate()
}

// prepare runs outside.
func prepare(ctx context.Context) (lab.Inputs, error) {
	a, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "lab:", err)
		}
		os.Exit(2)
	}
	progress := showProgress(os.Stderr)
	if a.bench != nil {
		if err := a.bench.prepare(ctx); err != nil {
			return lab.Inputs{}, err
		}
	} else if !a.demo && a.pictures == "" {
		dir, err := image.Ensure(ctx, progress)
		if err != nil {
			return lab.Inputs{}, err
		}
		fmt.Println(dir)
		os.Exit(0)
	}
	return lab.Inputs{Binary: a.binary, Progress: progress}, nil
}

// run runs inside.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a, err := parse(os.Args[1:], io.Discard)
	switch {
	case err != nil:
	case a.bench != nil:
		err = a.bench.run(ctx)
	case a.pictures != "":
		err = pictures(ctx, a.pictures)
	default:
		style, live := demo.Terminal(os.Stdout)
		_, err = demo.Run(ctx, os.Stdout, style, live && !a.plain, a.options, a.scenario, a.sessions)
	}
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// showProgress draws a bar on a terminal, and prints a line for each tenth
// elsewhere.
func showProgress(out *os.File) image.Progress {
	size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		last := -1
		return func(f float64, what string) {
			if tenth := int(f * 10); tenth != last {
				last = tenth
				fmt.Fprintf(out, "image: %3.0f %%  %s\n", f*100, what)
			}
		}
	}
	return func(f float64, what string) {
		const bar = 30
		full := int(f * bar)
		line := fmt.Sprintf("image [%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", bar-full), f*100, what)
		if width := int(size.Col) - 1; width > 0 && len(line) > width {
			line = line[:width]
		}
		end := ""
		if f >= 1 {
			end = "\n"
		}
		fmt.Fprintf(out, "\r%s\x1b[K%s", line, end)
	}
}
