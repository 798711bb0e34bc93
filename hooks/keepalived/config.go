// Package keepalived reads keepalived's configuration: doctor checks it, a drill
// moves the instances that it describes.
//
// It reads keepalived.conf(5) leniently: keepalived itself judges the syntax
// (keepalived -t), here only what can be understood matters.
package keepalived

import (
	"path"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
)

// UCIFile is the file that OpenWrt's init script makes of /etc/config/keepalived.
const UCIFile = "/tmp/keepalived.conf"

// DefaultFile is where the configuration is on all other platforms.
const DefaultFile = "/etc/keepalived/keepalived.conf"

// Config is what matters to wanfail of keepalived's configuration.
type Config struct {
	File       string
	Files      []string // File and all that it includes
	Security   bool     // enable_script_security
	User       string   // who runs scripts
	UserFrom   string   // the file that says so; "": none, and then keepalived_script does, if there is one
	FIFO       []*Hook
	Instances  []*Instance
	TrackFiles map[string]TrackFile
	Scripts    map[string]string // commands of vrrp_script blocks, by name
}

// Hook is a script that keepalived starts on a change.
type Hook struct {
	Event   string // notify, notify_master, ..., vrrp_notify_fifo_script
	Command string // with its arguments
	Path    string // of the program
	Where   string // file:line
	User    string // who runs it; "": who runs all scripts
	// Ours tells that it reaches wanfail.
	Ours bool
	// Parts are the components of Path, / first, without the symbolic links in it;
	// none if it is not there.
	Parts []files.Part
}

// Role is the role that a command line of wanfail's asks for: its first word that
// is no option; "" where the command is another program.
func (h *Hook) Role() string {
	words := strings.Fields(h.Command)
	if len(words) == 0 || path.Base(words[0]) != "wanfail" {
		return ""
	}
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case !strings.HasPrefix(w, "-"):
			return w
		case !strings.Contains(w, "="):
			i++ // its value
		}
	}
	return ""
}

// File is the file that has the hook.
func (h *Hook) File() string {
	file, _, _ := strings.Cut(h.Where, ":")
	return file
}

// Instance is a vrrp_instance or, with Group, a vrrp_sync_group.
type Instance struct {
	Name      string   `json:"name"`
	Group     bool     `json:"group,omitempty"`
	State     string   `json:"state,omitempty"` // to begin with
	Interface string   `json:"interface,omitempty"`
	RouterID  string   `json:"virtual_router_id,omitempty"`
	Priority  int      `json:"priority"`
	Advert    float64  `json:"advert_seconds"`
	Version   int      `json:"vrrp_version"`
	VIPs      []string `json:"virtual_addresses,omitempty"`
	NoPreempt bool     `json:"nopreempt,omitempty"`
	Delay     float64  `json:"preempt_delay_seconds,omitempty"`
	// Auth is the kind of authentication, which only VRRP version 2 has, and a
	// fingerprint of its password that is too short to guess it from.
	Auth    string   `json:"authentication,omitempty"`
	Source  string   `json:"unicast_src_ip,omitempty"`
	Unicast []string `json:"unicast_peers,omitempty"` // none: multicast

	Tracked  []string `json:"-"` // interfaces
	Needed   []string `json:"-"` // interfaces without which it is in FAULT
	Checks   []string `json:"-"` // names of the scripts that it tracks
	Files    []string `json:"-"` // track_file names
	Weights  []string `json:"-"` // their weights here, "" for the file's own
	Members  []string `json:"-"` // of a group
	Weighted bool     `json:"-"` // a group that leaves its members their own weights
	Where    string   `json:"-"`
	Hooks    []*Hook  `json:"-"`

	// Opening is the line that opens the block, and File the file that has this
	// line, once; "": it is not that easy.
	Opening string `json:"-"`
	File    string `json:"-"`
}

// TrackFile is a track_file block, whose number counts weight times.
type TrackFile struct {
	Path   string
	Weight string // "1", "-2 reverse"
	Value  string // what the file holds, "" if there is none
	Held   bool   // a process has it locked: a drill that runs
}

// Events are the keywords of an instance's hooks.
func Events() []string {
	return append(Required(), "notify", "notify_master_rx_lower_pri")
}

// Required are those without which a router does not follow keepalived, unless it
// has the generic notify.
func Required() []string {
	return []string{"notify_master", "notify_backup", "notify_fault", "notify_stop"}
}

// Title is the keyword with the name.
func (i *Instance) Title() string {
	if i.Group {
		return "vrrp_sync_group " + i.Name
	}
	return "vrrp_instance " + i.Name
}

// Ours are the hooks of i that reach wanfail, by event.
func (i *Instance) Ours() map[string]*Hook {
	found := map[string]*Hook{}
	for _, h := range i.Hooks {
		if h.Ours {
			found[h.Event] = h
		}
	}
	return found
}

// OurFIFO is the FIFO script that reaches wanfail, nil without one.
func (k *Config) OurFIFO() *Hook {
	for _, h := range k.FIFO {
		if h.Ours {
			return h
		}
	}
	return nil
}

// Hooks are all scripts of k, the FIFOs' first.
func (k *Config) Hooks() []*Hook {
	all := slices.Clone(k.FIFO)
	for _, i := range k.Instances {
		all = append(all, i.Hooks...)
	}
	return all
}

// GroupOf is the sync group that an instance is in, nil without one.
func (k *Config) GroupOf(i *Instance) *Instance {
	for _, g := range k.Instances {
		if g.Group && slices.Contains(g.Members, i.Name) {
			return g
		}
	}
	return nil
}
