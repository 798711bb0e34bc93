//go:build !nosystemd

package services

import (
	"context"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// watcher collects changes of some units for one Watch.
type watcher struct {
	wake chan struct{} // holds a token when pending is not empty

	mu      sync.Mutex
	ids     map[string]string          // unit id -> name as given
	paths   map[dbus.ObjectPath]string // unit path -> name as given
	active  map[dbus.ObjectPath]string // unit path -> ActiveState seen last
	pending map[string]struct{}
}

// Watch tells the name of a service when its state may have changed, until ctx
// ends and closes the channel. Changes that come faster than they are taken count
// once. After the connection was lost all names are told, since anything may have
// happened meanwhile.
//
// A job is told when it is queued and when it has ended, a unit when its
// ActiveState has become another, and all when units were enabled or disabled. Not told is that a unit was loaded, nor that
// systemd says all of a unit's properties anew because another that depends on it
// was: asking for the state of a stopped unit loads it, so that a reader who asks
// upon each change would never come to rest.
func (s *systemd) Watch(ctx context.Context, names []string) (<-chan string, error) {
	w := &watcher{
		wake:    make(chan struct{}, 1),
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
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	s.mu.Unlock()
	b, err := s.attach(ctx, w)
	if err != nil {
		s.detach(w)
		return nil, err
	}
	changes := make(chan string)
	go func() {
		defer close(changes)
		defer s.detach(w)
		for {
			if !w.pump(ctx, b, changes) {
				return
			}
			if b = s.reattach(ctx, w); b == nil {
				return
			}
			w.markAll()
		}
	}()
	return changes, nil
}

// pump passes changes on until the connection breaks (true) or ctx ends.
func (w *watcher) pump(ctx context.Context, b *bus, changes chan<- string) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-b.conn.Context().Done():
			return true
		case <-w.wake:
		}
		for {
			name, ok := w.take()
			if !ok {
				break
			}
			select {
			case changes <- name:
			case <-ctx.Done():
				return false
			}
		}
	}
}

// attach learns the paths under which systemd sends the units' signals. An alias
// has the path of the unit that it stands for.
func (s *systemd) attach(ctx context.Context, w *watcher) (*bus, error) {
	b, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	given := make(map[string]string, len(w.ids))
	for id, name := range w.ids {
		given[id] = name
	}
	w.mu.Unlock()
	for id, name := range given {
		units, err := b.units(ctx, id)
		if err != nil {
			return nil, explain(id, err)
		}
		w.mu.Lock()
		for _, u := range units {
			w.ids[u.ID] = name
			w.paths[u.Path] = name
			w.active[u.Path] = u.ActiveState
		}
		w.mu.Unlock()
	}
	return b, nil
}

// reattach tries until it succeeds; nil: ctx has ended or the manager is closed.
func (s *systemd) reattach(ctx context.Context, w *watcher) *bus {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		b, err := s.attach(ctx, w)
		if err == nil {
			return b
		}
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		if ctx.Err() != nil || closed {
			return nil
		}
		s.log.Debug("cannot watch the services, trying again", "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *systemd) detach(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// signal hands a signal to the watchers.
func (s *systemd) signal(sig *dbus.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		w.see(sig)
	}
}

func (w *watcher) see(sig *dbus.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch sig.Name {
	case managerIface + ".JobNew", managerIface + ".JobRemoved": // id, job, unit, ...
		if len(sig.Body) < 3 {
			return
		}
		id, _ := sig.Body[2].(string)
		if name, ok := w.ids[id]; ok {
			w.mark(name)
		}
	case managerIface + ".UnitFilesChanged": // enabled, disabled, installed
		for _, name := range w.ids {
			w.mark(name)
		}
	case "org.freedesktop.DBus.Properties.PropertiesChanged": // interface, changed, invalidated
		name, ok := w.paths[sig.Path]
		if !ok || len(sig.Body) < 2 || sig.Body[0] != unitIface {
			return
		}
		changed, _ := sig.Body[1].(map[string]dbus.Variant)
		if now, ok := changed["ActiveState"].Value().(string); ok && now != w.active[sig.Path] {
			w.active[sig.Path] = now
			w.mark(name)
		}
	}
}

// mark is called with mu held.
func (w *watcher) mark(name string) {
	w.pending[name] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) markAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.ids {
		w.mark(name)
	}
}

func (w *watcher) take() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.pending {
		delete(w.pending, name)
		return name, true
	}
	return "", false
}
