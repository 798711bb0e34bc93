package drill

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// Lowered is what a track_file holds during a drill: the least number that lowers
// the priority, to 1 whatever it was. The next one, -254, would be FAULT.
const Lowered = -253

// Scope is what a drill moves.
type Scope struct {
	Units     []Unit
	Files     []string // those of the track_files
	WANs      []string // that follow
	Stay      bool     // nopreempt: what has moved does not return
	Delay     float64  // seconds: the longest preempt_delay
	Instances []*keepalived.Instance
}

// Unit is what keepalived moves as one: an instance, or a group with its members.
type Unit struct {
	Head    *keepalived.Instance
	Members []*keepalived.Instance // of a group; else Head alone
	files   []string               // names of the drill's track_files that move it
}

// Choose finds what a drill has to move: all that a WAN follows, or what name is
// of. It refuses what could not be moved without a risk, with the remedy.
func Choose(k *keepalived.Config, wans []config.WAN, name string) (*Scope, error) {
	units := unitsOf(k)
	chosen := units
	if name != "" {
		chosen = slices.DeleteFunc(slices.Clone(units), func(u Unit) bool { return !u.named(name) })
		if len(chosen) == 0 {
			return nil, fmt.Errorf("%s has no vrrp_instance or vrrp_sync_group %s", k.File, name)
		}
	}
	s := &Scope{}
	followed := map[string]string{} // by unit: a WAN
	for _, w := range wans {
		if w.Instance != "" && !slices.ContainsFunc(units, func(u Unit) bool { return u.named(w.Instance) }) {
			return nil, fmt.Errorf("wan '%s' follows %s, which is not in %s", w.Name, w.Instance, k.File)
		}
		for _, u := range chosen {
			if u.drives(k, w) {
				followed[u.Head.Name] = w.Name
				if !slices.Contains(s.WANs, w.Name) {
					s.WANs = append(s.WANs, w.Name)
				}
			}
		}
	}
	drills := "" // the name of a track_file
	for i := range chosen {
		u := &chosen[i]
		if err := u.track(k); err != nil {
			return nil, err
		}
		if len(u.files) > 0 {
			drills = u.files[0]
		}
	}
	if drills == "" {
		uci := ""
		if k.File == "/tmp/keepalived.conf" { // what OpenWrt makes of /etc/config/keepalived, which has no such section
			uci = ", and name a file of your own with `option alt_config_file`"
		}
		return nil, fmt.Errorf("%s has no track_file whose name has `drill` in it: see keepalived-drill.conf among the examples%s", k.File, uci)
	}
	for _, u := range chosen {
		wan, follows := followed[u.Head.Name]
		switch {
		case len(u.files) > 0:
			s.add(k, u)
		case follows:
			return nil, fmt.Errorf("wan '%s' follows %s, which would stay here: add `track_file { %s }` to it (%s)", wan, u.Head.Title(), drills, u.Head.Where)
		}
	}
	if len(s.WANs) == 0 {
		return nil, fmt.Errorf("no wan follows %s", s)
	}
	return s, errors.Join(s.alone(units), s.returns())
}

// unitsOf are the instances, those in a group as one, in their order.
func unitsOf(k *keepalived.Config) (units []Unit) {
	grouped := map[string]bool{}
	for _, g := range k.Instances {
		if !g.Group {
			continue
		}
		u := Unit{Head: g}
		for _, name := range g.Members {
			for _, i := range k.Instances {
				if !i.Group && i.Name == name {
					u.Members = append(u.Members, i)
					grouped[name] = true
				}
			}
		}
		units = append(units, u)
	}
	for _, i := range k.Instances {
		if !i.Group && !grouped[i.Name] {
			units = append(units, Unit{Head: i, Members: []*keepalived.Instance{i}})
		}
	}
	return units
}

func (u Unit) named(name string) bool {
	return u.Head.Name == name || slices.ContainsFunc(u.Members, func(i *keepalived.Instance) bool { return i.Name == name })
}

// drives reports whether w follows u.
func (u Unit) drives(k *keepalived.Config, w config.WAN) bool {
	if w.Instance != "" {
		return u.named(w.Instance)
	}
	ours := func(h *keepalived.Hook) bool { return h.Ours }
	return slices.ContainsFunc(k.FIFO, ours) || slices.ContainsFunc(slices.Concat(u.Members, []*keepalived.Instance{u.Head}), func(i *keepalived.Instance) bool {
		return slices.ContainsFunc(i.Hooks, ours)
	})
}

// track finds the drill's track_files of u, and refuses those that keepalived
// would not apply as a drill needs it (keepalived 2.2.7, vrrp_complete_instance):
// a weight at a member of a sync group becomes 0, and with that FAULT.
func (u *Unit) track(k *keepalived.Config) error {
	group := u.Head.Group
	var loose []*keepalived.Instance // members that do not track it by themselves
	for _, i := range u.Members {
		files, err := drillFiles(k, i)
		if err != nil {
			return err
		}
		switch {
		case len(files) > 0 && i.Priority == 255:
			return fmt.Errorf("%s has priority 255, which keepalived never lowers, and makes of the track_file a FAULT: 254 (%s)", i.Title(), i.Where)
		case len(files) > 0 && group && !u.Head.Weighted:
			return fmt.Errorf("%s is in %s, so keepalived takes weight 0 for its track_file, and a drill would be a FAULT, whether there is a peer or not: move `track_file { %s }` from the instance to the group (%s)",
				i.Title(), u.Head.Title(), files[0], i.Where)
		case len(files) == 0:
			loose = append(loose, i)
		}
		u.add(files)
	}
	if !group {
		return nil
	}
	files, err := drillFiles(k, u.Head)
	if err != nil {
		return err
	}
	u.add(files)
	for _, i := range u.Members {
		if len(files) > 0 && i.Priority == 255 {
			return fmt.Errorf("%s has priority 255, which keepalived never lowers, and makes of the track_file of %s a FAULT: 254 (%s)", i.Title(), u.Head.Title(), i.Where)
		}
	}
	if len(files) == 0 && len(u.files) > 0 && len(loose) > 0 {
		return fmt.Errorf("%s does not track `%s` as others in %s do, and the group would be torn: track it in the group instead (%s)",
			loose[0].Title(), u.files[0], u.Head.Title(), loose[0].Where)
	}
	return nil
}

func (u *Unit) add(files []string) {
	for _, f := range files {
		if !slices.Contains(u.files, f) {
			u.files = append(u.files, f)
		}
	}
}

// drillFiles are the names of the drill's track_files at one instance or group.
func drillFiles(k *keepalived.Config, i *keepalived.Instance) (files []string, err error) {
	for at, name := range i.Files {
		if !strings.Contains(name, "drill") {
			continue
		}
		f := k.TrackFiles[name]
		weight := i.Weights[at]
		if weight == "" {
			weight = f.Weight
		}
		switch {
		case f.Path == "":
			return nil, fmt.Errorf("track_file %s of %s has no block with a `file` (%s)", name, i.Title(), i.Where)
		case weight == "0":
			return nil, fmt.Errorf("track_file %s of %s has weight 0, with which a drill would be a FAULT, whether there is a peer or not: weight 1 (%s)", name, i.Title(), i.Where)
		case weight != "1":
			return nil, fmt.Errorf("track_file %s of %s has weight %s: the drill needs weight 1 (%s)", name, i.Title(), weight, i.Where)
		}
		files = append(files, name)
	}
	return files, nil
}

func (s *Scope) add(k *keepalived.Config, u Unit) {
	s.Units = append(s.Units, u)
	for _, name := range u.files {
		if path := k.TrackFiles[name].Path; !slices.Contains(s.Files, path) {
			s.Files = append(s.Files, path)
		}
	}
	for _, i := range u.Members {
		s.Instances = append(s.Instances, i)
		s.Stay = s.Stay || i.NoPreempt
		s.Delay = max(s.Delay, i.Delay)
	}
}

// alone refuses a track_file that moves more than was asked for.
func (s *Scope) alone(units []Unit) error {
	for _, other := range units {
		if slices.ContainsFunc(s.Units, func(u Unit) bool { return u.Head == other.Head }) {
			continue
		}
		for _, i := range slices.Concat(other.Members, []*keepalived.Instance{other.Head}) {
			for _, mine := range s.Units {
				for _, name := range mine.files {
					if slices.Contains(i.Files, name) {
						return fmt.Errorf("%s has the same track_file `%s` and would move as well: give it one of its own, or drill without --instance", i.Title(), name)
					}
				}
			}
		}
	}
	return nil
}

// returns refuses what would come back in part.
func (s *Scope) returns() error {
	for _, i := range s.Instances {
		if s.Stay && !i.NoPreempt {
			return fmt.Errorf("%s would return and others would not: give all of them `nopreempt`, or none, or drill with --instance (%s)", i.Title(), i.Where)
		}
	}
	return nil
}

// String names what moves.
func (s *Scope) String() string {
	var names []string
	for _, u := range s.Units {
		name := u.Head.Name
		if u.Head.Group {
			var members []string
			for _, i := range u.Members {
				members = append(members, i.Name)
			}
			name = "group " + name + " (" + strings.Join(members, ", ") + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
