//go:build !nosystemd

package services

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"

	bus "github.com/wanfail/wanfail/services/systemd"
)

// watcher collects changes of some units for one Watch, whose goroutine it
// belongs to.
type watcher struct {
	ids     map[string]string          // unit id -> name as given
	paths   map[dbus.ObjectPath]string // unit path -> name as given
	active  map[dbus.ObjectPath]string // unit path -> ActiveState seen last
	pending map[string]struct{}        // names to tell
}

// Watch tells the name of a service when its state may have changed, until ctx
// ends and closes the channel. Changes that come faster than they are taken count
// once. After the connection was lost all names are told, since anything may have
// happened meanwhile.
//
// A job is told when it is queued and when it has ended, a unit when its
// ActiveState has become another, and all when units were enabled or disabled.
// Not told is that a unit was loaded, nor that systemd says all of a unit's
// properties anew because another that depends on it was: asking for the state of
// a stopped unit loads it, so that a reader who asks upon each change would never
// come to rest.
func (s *systemd) Watch(ctx context.Context, names []string) (<-chan string, error) {
	w := &watcher{
		ids:     map[string]string{},
		paths:   map[dbus.ObjectPath]string{},
		active:  map[dbus.ObjectPath]string{},
		pending: map[string]struct{}{},
	}
	for _, name := range names {
		id, err := unitName(name)
		if err != nil {
			return nil, err
		}
		w.ids[id] = name
	}
	b, signals, err := s.attach(ctx, w)
	if err != nil {
		return nil, err
	}
	changes := make(chan string)
	go func() {
		defer close(changes)
		for w.pump(ctx, b, signals, changes) {
			if b, signals = s.reattach(ctx, w); b == nil {
				return
			}
			w.markAll()
		}
	}()
	return changes, nil
}

// pump passes changes on until the connection breaks (true) or ctx ends.
func (w *watcher) pump(ctx context.Context, b *bus.Conn, signals chan *dbus.Signal, changes chan<- string) (broken bool) {
	defer b.NoSignals(signals)
	for {
		var out chan<- string
		var next string
		for next = range w.pending {
			out = changes
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-b.Broken():
			return true
		case out <- next:
			delete(w.pending, next)
		case sig, ok := <-signals:
			if !ok {
				return true
			}
			w.see(sig)
		}
	}
}

// attach subscribes to systemd's signals and learns the paths under which it sends
// those of the units. An alias has the path of the unit that it stands for.
func (s *systemd) attach(ctx context.Context, w *watcher) (*bus.Conn, chan *dbus.Signal, error) {
	b, err := s.connected(ctx)
	if err != nil {
		return nil, nil, err
	}
	signals := make(chan *dbus.Signal)
	b.Signals(signals)
	given := make(map[string]string, len(w.ids))
	for id, name := range w.ids {
		given[id] = name
	}
	for id, name := range given {
		units, err := units(ctx, b, id)
		if err != nil {
			b.NoSignals(signals)
			return nil, nil, explain(id, err)
		}
		for _, u := range units {
			w.ids[u.Name] = name
			w.paths[u.Path] = name
			w.active[u.Path] = u.ActiveState
		}
	}
	return b, signals, nil
}

// reattach tries until it succeeds; nil: ctx has ended or the manager is closed.
func (s *systemd) reattach(ctx context.Context, w *watcher) (*bus.Conn, chan *dbus.Signal) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		b, signals, err := s.attach(ctx, w)
		if err == nil {
			return b, signals
		}
		if ctx.Err() != nil || errors.Is(err, errClosed) {
			return nil, nil
		}
		s.log.Debug("cannot watch the services, trying again", "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil
		}
	}
}

const managerIface = "org.freedesktop.systemd1.Manager"

func (w *watcher) see(sig *dbus.Signal) {
	switch sig.Name {
	case managerIface + ".JobNew", managerIface + ".JobRemoved": // id, job, unit, ...
		if len(sig.Body) < 3 {
			return
		}
		id, _ := sig.Body[2].(string)
		if name, ok := w.ids[id]; ok {
			w.pending[name] = struct{}{}
		}
	case managerIface + ".UnitFilesChanged": // enabled, disabled, installed
		w.markAll()
	case "org.freedesktop.DBus.Properties.PropertiesChanged": // interface, changed, invalidated
		name, ok := w.paths[sig.Path]
		if !ok || len(sig.Body) < 2 || sig.Body[0] != "org.freedesktop.systemd1.Unit" {
			return
		}
		changed, _ := sig.Body[1].(map[string]dbus.Variant)
		if now, ok := changed["ActiveState"].Value().(string); ok && now != w.active[sig.Path] {
			w.active[sig.Path] = now
			w.pending[name] = struct{}{}
		}
	}
}

func (w *watcher) markAll() {
	for _, name := range w.ids {
		w.pending[name] = struct{}{}
	}
}
