//go:build !nosystemd

package services

import (
	"bufio"
	"bytes"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const managerPath dbus.ObjectPath = "/org/freedesktop/systemd1"

// fakeSystemd is a D-Bus peer as PID 1 does on its private socket. Its jobs take the
// time and have the outcome that the test gives them.
type fakeSystemd struct {
	t      *testing.T
	socket string
	l      net.Listener

	mu     sync.Mutex
	conns  []*dbus.Conn
	units  map[string]*fakeUnit
	calls  []string
	lastID uint32
}

type fakeUnit struct {
	unit
	props  map[string]any
	took   time.Duration // how long a job takes; 0: it ends before its call returns
	result string        // of the next start; "" is done
	file   string        // state of the unit's file
	after  string        // ActiveState after a start, if not active
	hangs  bool          // jobs do not end
	dies   time.Duration // how long after its start it fails; 0: never
}

// fakeExec is a command as systemd's properties ExecStartPre and others have it.
type fakeExec struct {
	Path                                     string
	Argv                                     []string
	Ignore                                   bool
	StartReal, StartMono, StopReal, StopMono uint64
	PID                                      uint32
	Code, Status                             int32
}

func newFakeSystemd(t *testing.T) *fakeSystemd {
	t.Helper()
	f := &fakeSystemd{t: t, socket: filepath.Join(t.TempDir(), "private"), units: map[string]*fakeUnit{}}
	f.listen()
	t.Cleanup(f.reexec)
	return f
}

// listen serves until reexec.
func (f *fakeSystemd) listen() {
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.l = l
	f.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(c)
		}
	}()
}

// reexec drops all connections and the socket, as systemd does when it executes
// itself anew.
func (f *fakeSystemd) reexec() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.l.Close()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}

// add makes a unit, "loaded" and in the given state.
func (f *fakeSystemd) add(id, active string) *fakeUnit {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + sd.PathBusEscape(id))
	u := &fakeUnit{unit: unit{Name: id, LoadState: "loaded", ActiveState: active, SubState: "x", Path: path, JobPath: "/"}, props: map[string]any{}}
	f.units[id] = u
	return u
}

// called returns the methods that were called since the last time.
func (f *fakeSystemd) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// serverSide lets godbus, which can only be a client in the handshake, be the
// server: it answers godbus' own handshake and leaves the wire to us.
type serverSide struct {
	net.Conn
	r     *bufio.Reader
	begun bool
	fake  bytes.Buffer
}

func (s *serverSide) Write(p []byte) (int, error) {
	if s.begun {
		return s.Conn.Write(p)
	}
	switch line := strings.TrimSpace(string(p)); {
	case line == "AUTH":
		s.fake.WriteString("REJECTED ANONYMOUS\r\n")
	case strings.HasPrefix(line, "AUTH "):
		s.fake.WriteString("OK 0123456789abcdef0123456789abcdef\r\n")
	case line == "BEGIN":
		s.begun = true
	}
	return len(p), nil
}

func (s *serverSide) Read(p []byte) (int, error) {
	if s.fake.Len() > 0 {
		return s.fake.Read(p)
	}
	return s.r.Read(p)
}

func (f *fakeSystemd) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			_ = c.Close()
			return
		}
		switch line = strings.Trim(line, "\x00\r\n"); {
		case line == "AUTH":
			_, _ = c.Write([]byte("REJECTED EXTERNAL\r\n"))
			continue
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			_, _ = c.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\n"))
			continue
		}
		break // BEGIN
	}
	// As sd-bus does: what was read along with BEGIN waits until there is more.
	if _, err := r.Peek(1); err == nil {
		_, _ = r.Peek(r.Buffered() + 1)
	}
	conn, err := dbus.NewConn(&serverSide{Conn: c, r: r})
	if err != nil {
		f.t.Error(err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	must := func(err error) {
		if err != nil {
			f.t.Error(err)
		}
	}
	must(conn.ExportMethodTable(map[string]any{
		"ListUnitsByNames": f.list,
		"StartUnit":        func(id, mode string) (dbus.ObjectPath, *dbus.Error) { return f.job("StartUnit", id, mode) },
		"RestartUnit":      func(id, mode string) (dbus.ObjectPath, *dbus.Error) { return f.job("RestartUnit", id, mode) },
		"StopUnit":         func(id, mode string) (dbus.ObjectPath, *dbus.Error) { return f.job("StopUnit", id, mode) },
		"ResetFailedUnit":  f.reset,
	}, managerPath, managerIface))
	for _, u := range f.units {
		must(conn.ExportMethodTable(map[string]any{"Get": func(_, name string) (dbus.Variant, *dbus.Error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if name == "UnitFileState" {
				return dbus.MakeVariant(u.file), nil
			}
			if v, ok := u.props[name]; ok {
				return dbus.MakeVariant(v), nil
			}
			return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
		}}, u.Path, "org.freedesktop.DBus.Properties"))
	}
	f.conns = append(f.conns, conn)
	must(conn.Auth([]dbus.Auth{dbus.AuthAnonymous()}))
}

func (f *fakeSystemd) list(ids []string) ([]unit, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var units []unit
	for _, id := range ids {
		if u := f.units[id]; u != nil {
			units = append(units, u.unit)
		} else {
			units = append(units, unit{Name: id, LoadState: "not-found", ActiveState: "inactive", SubState: "dead", Path: "/x", JobPath: "/"})
		}
	}
	return units, nil
}

func (f *fakeSystemd) reset(id string) *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "ResetFailedUnit")
	u := f.units[id]
	if u == nil {
		return dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"not loaded"})
	}
	if u.ActiveState == "failed" {
		u.ActiveState = "inactive"
	}
	return nil
}

func (f *fakeSystemd) job(method, id, mode string) (dbus.ObjectPath, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	u := f.units[id]
	switch {
	case mode != "replace":
		return "", dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{mode})
	case u == nil:
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"no " + id})
	case u.ActiveState == "failed":
		return "", dbus.NewError("org.example.StartLimit", []any{"start request repeated too quickly"})
	}
	u.JobType = strings.ToLower(strings.TrimSuffix(method, "Unit"))
	if u.JobId == 0 { // else it joins
		f.lastID++
		u.JobId = f.lastID
		u.JobPath = dbus.ObjectPath("/org/freedesktop/systemd1/job/" + string(rune('a'+f.lastID)))
		f.emit(managerPath, managerIface+".JobNew", u.JobId, u.JobPath, id)
	}
	switch job := u.JobPath; {
	case u.hangs:
		return job, nil
	case u.took == 0:
		f.finish(u)
		return job, nil
	default:
		time.AfterFunc(u.took, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.finish(u)
		})
		return job, nil
	}
}

// finish is called with mu held.
func (f *fakeSystemd) finish(u *fakeUnit) {
	result, state := "done", "active"
	if u.JobType == "stop" {
		state = "inactive"
	} else {
		if u.result != "" {
			result = u.result
		}
		if u.after != "" {
			state = u.after
		}
	}
	if state == "active" && u.dies > 0 {
		time.AfterFunc(u.dies, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.set(u, "failed")
		})
	}
	job, id := u.JobPath, u.JobId
	u.JobId, u.JobType, u.JobPath, u.SubState = 0, "", "/", "x"
	f.set(u, state)
	f.emit(managerPath, managerIface+".JobRemoved", id, job, u.Name, result)
}

// set is called with mu held.
func (f *fakeSystemd) set(u *fakeUnit, state string) {
	u.ActiveState = state
	f.emit(u.Path, "org.freedesktop.DBus.Properties.PropertiesChanged", "org.freedesktop.systemd1.Unit",
		map[string]dbus.Variant{"ActiveState": dbus.MakeVariant(state)}, []string{})
}

func (f *fakeSystemd) emit(path dbus.ObjectPath, name string, body ...any) {
	f.conns = slices.DeleteFunc(f.conns, func(c *dbus.Conn) bool { return !c.Connected() })
	for _, c := range f.conns {
		_ = c.Emit(path, name, body...)
	}
}
