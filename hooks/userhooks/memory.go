package userhooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// maxMemory bounds what is read: far above a lease for each WAN.
const maxMemory = 1 << 20

// state is what can be told: the role, "" before there is one, and the leases by
// WAN.
type state struct {
	Role   string                 `json:"role"`
	Leases map[string]*dhcp.Lease `json:"leases"`
}

func (s state) clone() state { return state{s.Role, maps.Clone(s.Leases)} }

// take is the state after an event.
func (s *state) take(e event) {
	switch {
	case e.ofRole():
		s.Role = e.name
	case e.lease == nil:
		delete(s.Leases, e.wan.Name)
	default:
		s.Leases[e.wan.Name] = e.lease
	}
}

// memory is the state that scripts have been told, kept in a file of the run
// directory: it is forgotten at each boot.
type memory struct {
	state
	file rundir.File
}

// recall reads the memory. What cannot be read is forgotten: scripts are then
// told again.
func recall(file rundir.File, log *slog.Logger) memory {
	m := memory{file: file}
	raw, err := file.Read(maxMemory)
	if err == nil {
		m.state, err = parse(raw)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Debug("what scripts were told is forgotten", "error", err)
		}
	}
	if m.Leases == nil {
		m.Leases = map[string]*dhcp.Lease{}
	}
	return m
}

// wanName is the name of a Linux interface that needs no quoting.
var wanName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// parse is strict: what it returns reaches scripts.
func parse(raw []byte) (s state, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return state{}, err
	}
	if s.Role != "" {
		if err := new(hooks.Role).UnmarshalText([]byte(s.Role)); err != nil {
			return state{}, err
		}
	}
	for wan, l := range s.Leases {
		if l == nil {
			return state{}, fmt.Errorf("no lease for WAN %q", wan)
		}
		if !wanName.MatchString(wan) {
			return state{}, fmt.Errorf("%q is no WAN", wan)
		}
	}
	return s, nil
}

// note remembers that scripts have been told of e.
func (m *memory) note(e event, log *slog.Logger) {
	m.take(e)
	raw, err := json.Marshal(m.state)
	if err == nil {
		err = m.file.Write(raw)
	}
	if err != nil {
		log.Warn("cannot remember what scripts were told, a restarted keeper tells it again: is there room in the run directory?", "error", err)
	}
}
