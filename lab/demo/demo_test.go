package demo

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wanfail/wanfail/lab"
)

var t0 = time.Unix(1000, 0)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// failover plays a crash to a model.
func failover() *Model {
	m := NewModel([]string{"dnsmasq"})
	m.Tell("being prepared")
	for _, e := range []lab.Event{
		{At: at(-900), Node: "ar0", Kind: lab.KindVRRP, Subject: "master"},
		{At: at(-890), Node: "ar0", Kind: lab.KindLink, Subject: "up"},
		{At: at(-880), Node: "ar0", Kind: lab.KindAddr, Subject: "203.0.114.82"},
		{At: at(-880), Node: "ar0", Kind: lab.KindRoute, Subject: "203.0.114.1"},
		{At: at(-870), Node: "ar0", Kind: lab.KindService, Subject: "dnsmasq", Detail: "started"},
	} {
		m.Event(e)
	}
	for ms := -200; ms <= 0; ms += 20 {
		m.Beat(at(ms))
	}
	for _, e := range []lab.Event{
		{At: at(0), Node: "ar0", Kind: lab.KindAct, Subject: lab.ActPowerCut},
		{At: at(310), Node: "ar1", Kind: lab.KindVRRP, Subject: "master"},
		{At: at(315), Node: "ar1", Kind: lab.KindLink, Subject: "up"},
		{At: at(325), Node: "ar1", Kind: lab.KindAddr, Subject: "203.0.114.82"},
		{At: at(324), Node: "isp", Kind: lab.KindDHCP, Subject: "ACK", Detail: "203.0.114.82"},
		{At: at(326), Node: "ar1", Kind: lab.KindARP, Subject: "203.0.114.82"},
		{At: at(376), Node: "ar1", Kind: lab.KindARP, Subject: "203.0.114.82"},
	} {
		m.Event(e)
	}
	m.Beat(at(400))
	return m
}

func TestModel(t *testing.T) {
	p := failover().Picture(at(420))
	if r := p.Routers[0]; !r.Off || r.Master || r.Address != "" || r.Services["dnsmasq"] {
		t.Errorf("a router without power: %+v", r)
	}
	if r := p.Routers[1]; r.Off || !r.Master || r.Address != "203.0.114.82" || r.Link != "up" {
		t.Errorf("the new master: %+v", r)
	}
	if p.Gap != 400*time.Millisecond {
		t.Errorf("the gap is %v", p.Gap)
	}
	var order []string
	for _, l := range p.Lines {
		order = append(order, l.Event.Node+" "+string(l.Event.Kind))
	}
	want := "ar0 act, ar1 vrrp, ar1 link, isp dhcp, ar1 addr, ar1 arp"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("events: %s; want %s", got, want)
	}
}

func TestFinishHoldsThePicture(t *testing.T) {
	m := failover()
	m.Finish()
	before := m.Picture(at(500))
	m.Beat(at(510))
	m.Event(lab.Event{At: at(520), Node: "ar1", Kind: lab.KindLink, Subject: "gone"})
	after := m.Picture(at(9000))
	if after.Received != before.Received || len(after.Lines) != len(before.Lines) || after.Routers[1].Link != "up" || !after.Now.Equal(before.Now) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

func TestStrip(t *testing.T) {
	p := failover().Picture(at(450))
	if got, want := string(p.Strip(14, 50*time.Millisecond)), " ▮▮▮▮▮·······▮"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScreenKeepsItsSize(t *testing.T) {
	m := failover()
	for i := range 40 {
		m.Event(lab.Event{At: at(500 + i), Node: "ar1", Kind: lab.KindService, Subject: "dnsmasq", Detail: "started"})
	}
	for _, p := range []Picture{NewModel([]string{"dnsmasq", "miniupnpd"}).Picture(at(0)), failover().Picture(at(420)), m.Picture(at(600))} {
		for _, width := range []int{20, 80, 100, 300} {
			lines := Style{Width: width}.Draw("title", p)
			if want := len(Style{Width: 80}.Draw("title", Picture{})); len(lines) != want {
				t.Errorf("width %d: %d lines, want %d", width, len(lines), want)
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > max(min(width, 100), minWidth) {
					t.Errorf("width %d: %d columns: %q", width, n, l)
				}
			}
		}
	}
}

func TestColourIsOnlyColour(t *testing.T) {
	p := failover().Picture(at(420))
	plain := strings.Join(Style{Width: 80}.Draw("title", p), "\n")
	coloured := strings.Join(Style{Width: 80, Colour: true}.Draw("title", p), "\n")
	if strings.Contains(plain, "\x1b") {
		t.Error("escapes without colour")
	}
	var stripped strings.Builder
	for rest := coloured; rest != ""; {
		text, after, found := strings.Cut(rest, "\x1b[")
		stripped.WriteString(text)
		if !found {
			break
		}
		_, rest, _ = strings.Cut(after, "m")
	}
	if coloured == plain || stripped.String() != plain {
		t.Error("with and without colour the text differs")
	}
}

func TestSummaryShowsWhatWentWrong(t *testing.T) {
	r := &lab.Report{Scenario: lab.Stop, From: "ar0", To: "ar1", Releases: 2, Overlap: time.Second, Silence: 2 * time.Second}
	r.Load.Sessions = make([]lab.SessionReport, 4)
	r.Load.Survived = 3
	text := Style{}.Summary(lab.Options{Scheme: lab.Script}, r)
	for _, want := range []string{"1 of 4 lost", "yes, 2", "yes, for 1000.0 ms", "2000.0 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the summary:\n%s", want, text)
		}
	}
}
