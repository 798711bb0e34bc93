package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// Router is what is known of one.
type Router struct {
	Name     string
	Off      bool
	Master   bool
	Link     string // of the WAN: "", "up", "mute", "down"
	Address  string
	Gateway  string
	Services map[string]bool
}

// Line of the list of events.
type Line struct {
	At    time.Time // zero: what is being prepared
	Event lab.Event
	Text  string
}

// Model is safe for concurrent use.
type Model struct {
	mu       sync.Mutex
	routers  [2]Router
	lines    []Line
	trigger  time.Time
	beats    []time.Time
	received int
	gap      time.Duration
	told     map[string]bool
	end      time.Time // what comes later is not shown
}

// NewModel for the lab's two routers and the services that follow the role.
func NewModel(services []string) *Model {
	m := &Model{told: map[string]bool{}}
	for i, name := range []string{"ar0", "ar1"} {
		m.routers[i] = Router{Name: name, Services: map[string]bool{}}
		for _, s := range services {
			m.routers[i].Services[s] = false
		}
	}
	return m
}

// Tell notes what is being prepared.
func (m *Model) Tell(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, Line{Text: text})
}

// beginAt clears the list: what is to be seen begins with this event.
func (m *Model) beginAt(e lab.Event) {
	m.trigger, m.lines, m.gap = e.At, nil, 0
	clear(m.told)
}

// Event updates the picture.
func (m *Model) Event(e lab.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.end.IsZero() {
		return
	}
	if e.Kind == lab.KindAct {
		m.beginAt(e)
	}
	for i := range m.routers {
		if m.routers[i].Name == e.Node {
			m.routers[i].apply(e)
		} else if e.Kind == lab.KindVRRP && e.Subject == "master" {
			m.routers[i].Master = false
		}
	}
	if m.trigger.IsZero() {
		return
	}
	// Repeated announcements are the same news.
	if key := e.Node + e.String(); e.Kind == lab.KindARP {
		if m.told[key] {
			return
		}
		m.told[key] = true
	}
	// Sources are apart by moments; the list is in the order of the events.
	i := len(m.lines)
	for i > 0 && m.lines[i-1].At.After(e.At) {
		i--
	}
	m.lines = slices.Insert(m.lines, i, Line{At: e.At, Event: e, Text: e.String()})
}

func (r *Router) apply(e lab.Event) {
	gone := func(s string) string {
		if s == "gone" {
			return ""
		}
		return s
	}
	switch e.Kind {
	case lab.KindAct:
		if e.Subject == lab.ActPowerCut {
			*r = Router{Name: r.Name, Off: true, Services: r.Services}
			for s := range r.Services {
				r.Services[s] = false
			}
			return
		}
		r.Off = false
	case lab.KindBoot:
		r.Off = false
	case lab.KindVRRP:
		r.Master = e.Subject == "master"
	case lab.KindVIP:
		if e.Subject == "down" {
			r.Master = false
		}
	case lab.KindLink:
		if r.Link = gone(e.Subject); r.Link == "" {
			r.Address, r.Gateway = "", ""
		}
	case lab.KindAddr:
		r.Address = gone(e.Subject)
	case lab.KindRoute:
		r.Gateway = gone(e.Subject)
	case lab.KindService:
		if _, ok := r.Services[e.Subject]; ok {
			r.Services[e.Subject] = e.Detail == "started"
		}
	}
}

// keepBeats is how far back the heartbeat can be drawn.
const keepBeats = 10 * time.Second

// Finish holds the picture as it is.
func (m *Model) Finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = time.Now()
}

// Beat notes a packet of the watched session.
func (m *Model) Beat(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.end.IsZero() {
		return
	}
	if n := len(m.beats); n > 0 {
		if gap := at.Sub(m.beats[n-1]); gap > m.gap && !m.trigger.IsZero() {
			m.gap = gap
		}
	}
	m.received++
	m.beats = append(m.beats, at)
	for len(m.beats) > 1 && at.Sub(m.beats[0]) > keepBeats {
		m.beats = m.beats[1:]
	}
}

// Picture is a copy of the model at one moment.
type Picture struct {
	Now      time.Time
	Routers  [2]Router
	Lines    []Line
	Trigger  time.Time
	Received int
	Gap      time.Duration
	beats    []time.Time
}

// Picture takes one.
func (m *Model) Picture(now time.Time) Picture {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.end.IsZero() {
		now = m.end
	}
	p := Picture{
		Now: now, Routers: m.routers, Trigger: m.trigger, Received: m.received, Gap: m.gap,
		Lines: append([]Line(nil), m.lines...),
		beats: append([]time.Time(nil), m.beats...),
	}
	for i := range p.Routers {
		services := make(map[string]bool, len(m.routers[i].Services))
		for k, v := range m.routers[i].Services {
			services[k] = v
		}
		p.Routers[i].Services = services
	}
	if n := len(p.beats); n > 0 && !p.Trigger.IsZero() {
		// A gap that still goes on counts as well.
		p.Gap = max(p.Gap, now.Sub(p.beats[n-1]))
	}
	return p
}

// Strip is the heartbeat of the last n intervals, the newest last: whether data
// arrived in each. An interval before the first packet is neither.
func (p Picture) Strip(n int, interval time.Duration) []rune {
	strip := make([]rune, n)
	// Intervals have fixed borders: what is drawn moves, but does not flicker.
	end := p.Now.Truncate(interval)
	for i := range strip {
		from := end.Add(-time.Duration(n-i) * interval)
		to := from.Add(interval)
		switch {
		case len(p.beats) == 0 || !to.After(p.beats[0]):
			strip[i] = ' '
		default:
			strip[i] = '·'
		}
		for _, b := range p.beats {
			if !b.Before(from) && b.Before(to) {
				strip[i] = '▮'
				break
			}
		}
	}
	return strip
}
