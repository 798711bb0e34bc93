package userhooks

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"

	"github.com/wanfail/wanfail/dhcp"
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
		err = json.Unmarshal(raw, &m.state)
	}
	if err != nil {
		m.state = state{}
		if !errors.Is(err, fs.ErrNotExist) {
			log.Debug("what scripts were told is forgotten", "error", err)
		}
	}
	if m.Leases == nil {
		m.Leases = map[string]*dhcp.Lease{}
	}
	return m
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
