package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wanfail/wanfail/lab"
)

// Style of the output.
type Style struct {
	Colour bool
	Width  int // of the terminal, in columns
}

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s Style) paint(colour, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// stripInterval is what one character of the heartbeat stands for.
const stripInterval = 50 * time.Millisecond

// eventLines is the height of the list of events, so that the screen's height is
// always the same.
const eventLines = 18

// minWidth is what the longest line needs.
const minWidth = 64

// Draw is the screen: as many lines each time.
func (s Style) Draw(title string, p Picture) []string {
	width := min(max(s.Width, minWidth), 100)
	box := (width - 3) / 2
	lines := []string{s.paint(bold, " "+title), ""}
	left, right := s.router(p.Routers[0], box), s.router(p.Routers[1], box)
	for i := range left {
		lines = append(lines, " "+left[i]+" "+right[i])
	}
	lines = append(lines, "", " TCP session from the LAN to the internet, one mark each 50 ms:")
	var strip strings.Builder
	for _, r := range p.Strip(width-2, stripInterval) {
		switch r {
		case '▮':
			strip.WriteString(s.paint(green, "▮"))
		case '·':
			strip.WriteString(s.paint(red, "·"))
		default:
			strip.WriteRune(r)
		}
	}
	count := fmt.Sprintf(" %d packets", p.Received)
	if !p.Trigger.IsZero() {
		count += fmt.Sprintf(", longest gap since %s ms", millis(p.Gap))
	}
	lines = append(lines, " "+strip.String(), s.paint(dim, count), "")
	list := p.Lines
	if len(list) > eventLines {
		list = list[len(list)-eventLines:]
	}
	for i := range eventLines {
		line := ""
		if i < len(list) {
			line = s.Line(list[i], p.Trigger)
		}
		lines = append(lines, line)
	}
	return lines
}

// Line is an event in words, with its time in ms since the trigger.
func (s Style) Line(l Line, trigger time.Time) string {
	if l.At.IsZero() {
		return s.paint(dim, "   "+l.Text)
	}
	colour := map[lab.Kind]string{
		lab.KindAct: red, lab.KindVRRP: yellow, lab.KindVIP: yellow, lab.KindHook: cyan,
		lab.KindAddr: green, lab.KindRoute: green,
	}[l.Event.Kind]
	text := l.Text
	if colour != "" {
		text = s.paint(colour, text)
	}
	return fmt.Sprintf(" %s ms  %-4s %s", pad(millis(l.At.Sub(trigger)), -8), l.Event.Node, text)
}

func (s Style) router(r Router, width int) []string {
	role, colour := "backup", dim
	switch {
	case r.Off:
		role, colour = "no power", red
	case r.Master:
		role, colour = "MASTER", green
	}
	rule := strings.Repeat("─", max(width-len(r.Name)-len(role)-8, 1))
	lines := []string{"┌─ " + s.paint(bold, r.Name) + " " + rule + " " + s.paint(colour, role) + " ─┐"}
	row := func(name, value, colour string) {
		value = pad(value, width-14)
		lines = append(lines, "│ "+pad(name, 9)+" "+s.paint(colour, value)+" │")
	}
	value := func(v, none string) (string, string) {
		if v == "" {
			return none, dim
		}
		return v, green
	}
	link, c := value(r.Link, "–")
	if r.Link == "mute" || r.Link == "down" {
		c = yellow
	}
	row("macvlan", link, c)
	addr, c := value(r.Address, "silent")
	if r.Off {
		addr = "–"
	}
	row("WAN", addr, c)
	gw, c := value(r.Gateway, "–")
	row("gateway", gw, c)
	var services []string
	for _, name := range slices.Sorted(maps.Keys(r.Services)) {
		mark := "○"
		if r.Services[name] {
			mark = "●"
		}
		services = append(services, mark+" "+name)
	}
	c = dim
	if slices.Contains(slices.Collect(maps.Values(r.Services)), true) {
		c = green
	}
	row("services", strings.Join(services, "  "), c)
	return append(lines, "└"+strings.Repeat("─", width-2)+"┘")
}

// pad to a width in characters, to the left if it is negative, cutting what is
// too long.
func pad(s string, width int) string {
	n := utf8.RuneCountInString(s)
	switch {
	case width < 0 && n < -width:
		return strings.Repeat(" ", -width-n) + s
	case width > 0 && n < width:
		return s + strings.Repeat(" ", width-n)
	case width > 0 && n > width:
		return string([]rune(s)[:width])
	}
	return s
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// Summary is what came of it.
func (s Style) Summary(o lab.Options, r *lab.Report) string {
	var b strings.Builder
	what := map[lab.Scenario]string{
		lab.Crash:    r.From + " lost its power, " + r.To + " took over",
		lab.Stop:     "keepalived on " + r.From + " was stopped, " + r.To + " took over",
		lab.Failback: r.To + " came back and took over from " + r.From,
	}[r.Scenario]
	fmt.Fprintf(&b, "\n %s\n\n", s.paint(bold, what))
	row := func(name, value, rest string) {
		fmt.Fprintf(&b, "   %s %s   %s\n", pad(name, 26), pad(value, -10), s.paint(dim, rest))
	}
	verdict := func(ok bool, yes, no string) string {
		if ok {
			return s.paint(green, yes)
		}
		return s.paint(red, no)
	}
	who := string(o.Scheme)
	if o.Scheme != lab.Wanfail {
		who = "primary-backup.sh"
	}
	outage := r.Outage.Duration()
	row("the path was broken for", millis(outage)+" ms", fmt.Sprintf("UDP echo each 5 ms, %d lost in a row", r.Outage.Lost))
	switch r.Scenario {
	case lab.Crash:
		row("  of it, VRRP's detection", millis(r.Detection)+" ms", fmt.Sprintf("three missing adverts of %v", o.Advert))
		row("  of it, "+who, millis(r.Usable)+" ms", "hook to default route")
		row("  and the rest", millis(outage-r.Detection-r.Usable)+" ms", "last probe before, first one after")
	default:
		row("VRRP's handover", millis(r.Detection)+" ms", "from the command to the new master's hook")
		row(who, millis(r.Usable)+" ms", "hook to default route")
		silent := "before the command"
		if r.Silence >= 0 {
			silent = millis(r.Silence) + " ms"
		}
		row("old master silent after", silent, "last frame with the shared MAC address")
	}
	row("longest gap of a session", millis(r.Load.Max)+" ms", "TCP, with its retransmission timer")
	lost := len(r.Load.Sessions) - r.Load.Survived
	fmt.Fprintf(&b, "\n   %s %s\n", pad("TCP sessions", 26), verdict(lost == 0,
		fmt.Sprintf("%d of %d survived", r.Load.Survived, len(r.Load.Sessions)),
		fmt.Sprintf("%d of %d lost", lost, len(r.Load.Sessions))))
	fmt.Fprintf(&b, "   %s %s\n", pad("same WAN address", 26), verdict(r.Before == r.After,
		"yes, "+r.After.Addr().String(), fmt.Sprintf("no: %s, then %s", r.Before.Addr(), r.After.Addr())))
	fmt.Fprintf(&b, "   %s %s\n", pad("DHCPRELEASE seen", 26), verdict(r.Releases == 0, "no", fmt.Sprintf("yes, %d", r.Releases)))
	fmt.Fprintf(&b, "   %s %s\n", pad("both transmitted at once", 26), verdict(r.Overlap <= 0, "no", "yes, for "+millis(r.Overlap)+" ms"))
	return b.String()
}
