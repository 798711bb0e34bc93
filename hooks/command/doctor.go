package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/hooks/view"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "find what will go wrong before it does", Action: diagnose,
		Description: `Looks at keepalived, its configuration and hooks, what else claims the WAN or its
port, services that the boot starts, the firewall, conntrackd and the kernel's
settings, and asks the LAN by ARP whether somebody has the virtual address. For each finding: what was found, why it matters, and the fix. Run it
as root. Exits with 0 if there is none, 1 with warnings, 2 with errors.

To compare the two routers, run wanfail doctor --json >FILE on one and
wanfail doctor --peer FILE on the other.

--probe sends one DISCOVER from the shared MAC address and takes no lease. It is
refused while this router or its peer may be primary: the frame would draw the
traffic of the shared address here.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "as JSON", DisableDefaultText: true},
			&cli.PathFlag{Name: "peer", Usage: "compare with `FILE`, the other router's doctor --json"},
			&cli.BoolFlag{Name: "probe", Usage: "ask the ISP whether it would answer", DisableDefaultText: true},
			&cli.DurationFlag{Name: "wait", Value: 3 * time.Second, Usage: "how long --probe listens for offers"},
		},
	}
}

func diagnose(c *cli.Context) error {
	var peer *doctor.Identity
	if path := c.Path("peer"); path != "" {
		p, err := readPeer(path)
		if err != nil {
			return &usageError{err.Error()}
		}
		peer = &p
	}
	f := facts(c)
	d := doctor.Examine(f)
	if peer != nil {
		d = d.With(doctor.Compare(d.Identity, *peer))
	}
	if c.Bool("probe") {
		found, err := probe(c, f, peer)
		if err != nil {
			return err
		}
		// For a probe keepalived has to be stopped, on both routers.
		d = d.Without("keepalived-stopped", "no-master").With(found)
	}
	if c.Bool("json") {
		raw, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(c.App.Writer, escaped(raw))
	} else {
		screen(c).Findings(c.App.Writer, lines(d.Findings))
	}
	if code := d.Code(); code != 0 {
		return exitError(code)
	}
	return nil
}

// escaped is JSON without characters that would steer a terminal: encoding/json
// leaves those above 0x7e as they are.
func escaped(raw []byte) string {
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}

func lines(findings []doctor.Finding) (all []view.Finding) {
	for _, f := range findings {
		all = append(all, view.Finding{ID: f.ID, Severity: string(f.Severity), Found: f.Found, Why: f.Why, Fix: f.Fix})
	}
	return all
}

func readPeer(path string) (doctor.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return doctor.Identity{}, err
	}
	defer f.Close()
	var d doctor.Diagnosis
	err = json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&d)
	if err == nil && d.Schema != doctor.Schema {
		err = fmt.Errorf("schema %d, want %d", d.Schema, doctor.Schema)
	}
	if err != nil {
		return doctor.Identity{}, fmt.Errorf("%s is not what `wanfail doctor --json` wrote: %w", path, err)
	}
	return d.Identity, nil
}

// probe asks the ISP, if nobody can be using the shared address.
func probe(c *cli.Context, f *doctor.Facts, peer *doctor.Identity) ([]doctor.Finding, error) {
	if f.ConfigErr != nil {
		return nil, &hook.ConfigError{Err: f.ConfigErr}
	}
	if err := inUse(c.Context, runDir(c), f, peer); err != nil {
		return nil, fmt.Errorf("no probe: %w", err)
	}
	return doctor.Probe(c.Context, f, c.Duration("wait")), nil
}

// inUse returns who is, or may be, using the shared address.
func inUse(ctx context.Context, dir rundir.Dir, f *doctor.Facts, peer *doctor.Identity) error {
	if f.Role == intent.Primary {
		return errors.New("this router is primary")
	}
	for wan, seen := range f.Parents {
		if seen.Exists {
			return fmt.Errorf("%s exists here: this router is, or was just, primary", wan)
		}
	}
	if peer != nil && peer.Role == intent.Primary {
		return errors.New("the peer is primary, its file says")
	}
	intents, _, err := intent.ReadIntents(dir)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Owner != (intent.Process{}) && !i.Owner.Gone() {
			return fmt.Errorf("keepalived runs and has said %s: then the peer may be primary; stop keepalived on both routers first", i.State)
		}
	}
	return vipsAnswer(ctx, f)
}

// vipsAnswer is an error if somebody has a virtual address on the LAN.
func vipsAnswer(ctx context.Context, f *doctor.Facts) error {
	for _, a := range askVIPs(ctx, f) {
		if a.err == nil {
			return fmt.Errorf("%s answers on %s: the peer is master", a.vip.Address, a.vip.Device)
		}
	}
	return nil
}
