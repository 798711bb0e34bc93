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
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// maxDelivered bounds what is read: far above a lease for each WAN.
const maxDelivered = 1 << 20

// state is what events are about: the role, "" before there is one, and the leases
// by WAN.
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

// delivered is the state that scripts were last called for, kept in a file of the
// run directory, which no boot outlives.
type delivered struct {
	state
	file rundir.File
}

// loadDelivered reads the state. Without a readable file scripts are called again.
func loadDelivered(file rundir.File, log *slog.Logger) delivered {
	m := delivered{file: file}
	raw, err := file.Read(maxDelivered)
	if err == nil {
		m.state, err = parse(raw)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Debug("cannot read which events scripts were called for, calling them again", "error", err)
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
		if err := new(intent.Role).UnmarshalText([]byte(s.Role)); err != nil {
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

// note records that scripts were called for e.
func (m *delivered) note(e event, log *slog.Logger) {
	m.take(e)
	raw, err := json.Marshal(m.state)
	if err == nil {
		err = m.file.Write(raw)
	}
	if err != nil {
		log.Warn("cannot record which events scripts were called for, a restarted keeper calls them again: is there room in the run directory?", "error", err)
	}
}
