package doctor

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// block is a line of keepalived.conf(5) and, where it ends in a brace, the lines
// inside.
type block struct {
	words []string
	file  string
	line  int
	inner []*block
}

func (b *block) word(i int) string {
	if i < len(b.words) {
		return b.words[i]
	}
	return ""
}

// all returns the inner lines with one of the given keywords.
func (b *block) all(keywords ...string) (found []*block) {
	for _, in := range b.inner {
		for _, k := range keywords {
			if in.word(0) == k {
				found = append(found, in)
			}
		}
	}
	return found
}

// value is the first argument of a keyword, and whether it is there.
func (b *block) value(keyword string) (string, bool) {
	lines := b.all(keyword)
	if len(lines) == 0 {
		return "", false
	}
	return lines[len(lines)-1].word(1), true
}

// or is value with a default.
func (b *block) or(keyword, missing string) string {
	if v, ok := b.value(keyword); ok {
		return v
	}
	return missing
}

// Hook is a script that keepalived starts on a change.
type Hook struct {
	Event string // notify, notify_master, ..., vrrp_notify_fifo_script
	Path  string // of the program
	Where string // file:line
	User  string // who runs it; "": who runs all scripts
	// Ours tells that it reaches wanfail.
	Ours bool
	// Parts are the components of Path, / first, without the symbolic links in it;
	// none if it is not there.
	Parts []Part
}

// Part is one component of a path.
type Part struct {
	Path     string
	UID, GID uint32
	Mode     uint32 // permission bits
}

// Instance is a vrrp_instance or, with Group, a vrrp_sync_group.
type Instance struct {
	Name      string   `json:"name"`
	Group     bool     `json:"group,omitempty"`
	Interface string   `json:"interface,omitempty"`
	RouterID  string   `json:"virtual_router_id,omitempty"`
	Priority  int      `json:"priority"`
	Advert    float64  `json:"advert_seconds"`
	Version   int      `json:"vrrp_version"`
	VIPs      []string `json:"virtual_addresses,omitempty"`
	NoPreempt bool     `json:"nopreempt,omitempty"`
	Delay     float64  `json:"preempt_delay_seconds,omitempty"`
	Files     []string `json:"-"` // track_file names
	Weights   []string `json:"-"` // their weights here, "" for the file's own
	Members   []string `json:"-"` // of a group
	Weighted  bool     `json:"-"` // a group that leaves its members their own weights
	Where     string   `json:"-"`
	Hooks     []*Hook  `json:"-"`

	opening string // a pattern for sed(1), of the line that opens the block
	file    string // that has this line, once; "": it is not that easy
}

// Keepalived is what matters here of its configuration.
type Keepalived struct {
	File       string
	Security   bool   // enable_script_security
	User       string // who runs scripts
	userFrom   string // what says so; "": nothing, and then keepalived_script does, if there is one
	FIFO       []*Hook
	Instances  []*Instance
	TrackFiles map[string]TrackFile
}

// TrackFile is a track_file block, whose number counts weight times.
type TrackFile struct {
	Path   string
	Weight string // "1", "-2 reverse"
	Value  string // what the file holds, "" if there is none
	Held   bool   // a process has it locked: a drill that runs
}

var hookWords = []string{"notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"}

// Keepalived reads the configuration that is in force: that of the keepalived
// that runs, else the one where the platform has it.
func (s *System) Keepalived() (k *Keepalived, err error) {
	files := []string{"/etc/keepalived/keepalived.conf", "/tmp/keepalived.conf"}
	if s.exists("/etc/openwrt_release") { // its init script makes the second of UCI's
		slices.Reverse(files)
	}
	if file := argument(s.keepalivedArgs(), "-f", "--use-file"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		k, err = s.KeepalivedFile(file)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return k, err
}

// keepalivedArgs is the command line of the keepalived that runs here, not in a
// container.
func (s *System) keepalivedArgs() []string {
	here := s.link("/proc/self/ns/pid")
	for _, comm := range s.glob("/proc/[0-9]*/comm") {
		proc := strings.TrimSuffix(comm, "/comm")
		if strings.HasPrefix(s.text(comm), "keepalived") && s.link(proc+"/ns/pid") == here {
			return strings.Split(s.text(proc+"/cmdline"), "\x00")
		}
	}
	return nil
}

// argument is the value of an option as getopt_long(3) takes it.
func argument(args []string, short, long string) string {
	for i, a := range args {
		switch {
		case (a == short || a == long) && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, long+"="):
			return a[len(long)+1:]
		case strings.HasPrefix(a, short) && len(a) > len(short):
			return a[len(short):]
		}
	}
	return ""
}

// KeepalivedFile reads the configuration that begins in file.
func (s *System) KeepalivedFile(file string) (*Keepalived, error) {
	id := argument(s.keepalivedArgs(), "-i", "--config-id")
	if id == "" {
		id, _, _ = strings.Cut(s.text("/proc/sys/kernel/hostname"), ".")
	}
	root, err := s.parseKeepalived(file, id)
	if err != nil {
		return nil, err
	}
	k := &Keepalived{File: file, TrackFiles: map[string]TrackFile{}}
	version := 2
	k.User = "root"
	if strings.Contains("\n"+s.text("/etc/passwd"), "\nkeepalived_script:") {
		k.User = "keepalived_script"
	}
	for _, g := range root.all("global_defs") {
		for _, u := range g.all("script_user") {
			k.User, k.userFrom = u.word(1), u.file
		}
		_, on := g.value("enable_script_security")
		k.Security = k.Security || on
		if v, ok := g.value("vrrp_version"); ok {
			version, _ = strconv.Atoi(v)
		}
		for _, h := range g.all("vrrp_notify_fifo_script", "notify_fifo_script") {
			k.FIFO = append(k.FIFO, s.hook(h))
		}
	}
	for _, t := range root.all("track_file", "vrrp_track_file") {
		path, _ := t.value("file")
		f := TrackFile{Path: path, Weight: "1", Value: s.text(path), Held: s.held(path)}
		for _, w := range t.all("weight") {
			f.Weight = strings.Join(w.words[1:], " ")
		}
		k.TrackFiles[t.word(1)] = f
	}
	for _, b := range root.all("vrrp_instance", "vrrp_sync_group") {
		k.Instances = append(k.Instances, s.instance(b, version))
	}
	return k, nil
}

func (s *System) instance(b *block, version int) *Instance {
	i := &Instance{
		Name: b.word(1), Group: b.word(0) == "vrrp_sync_group", Where: where(b),
	}
	i.Interface, _ = b.value("interface")
	i.RouterID, _ = b.value("virtual_router_id")
	_, i.NoPreempt = b.value("nopreempt")
	i.Priority, _ = strconv.Atoi(b.or("priority", "100"))
	i.Advert, _ = strconv.ParseFloat(b.or("advert_int", "1"), 64)
	i.Version, _ = strconv.Atoi(b.or("version", strconv.Itoa(version)))
	i.Delay, _ = strconv.ParseFloat(b.or("preempt_delay", "0"), 64)
	for _, v := range b.all("virtual_ipaddress") {
		for _, a := range v.inner {
			i.VIPs = append(i.VIPs, a.word(0))
		}
	}
	if _, native := b.value("native_ipv6"); native || len(i.VIPs) > 0 && strings.Contains(i.VIPs[0], ":") {
		i.Version = 3 // there is no other one of IPv6
	}
	for _, t := range b.all("track_file") {
		for _, f := range t.inner {
			i.Files = append(i.Files, f.word(0))
			weight := ""
			if f.word(1) == "weight" {
				weight = strings.Join(f.words[2:], " ")
			}
			i.Weights = append(i.Weights, weight)
		}
	}
	for _, g := range b.all("group") {
		for _, in := range g.inner {
			i.Members = append(i.Members, in.words...)
		}
	}
	i.Weighted = len(b.all("sync_group_tracking_weight", "global_tracking")) > 0
	for _, h := range b.all(hookWords...) {
		i.Hooks = append(i.Hooks, s.hook(h))
	}
	for _, line := range s.lines(b.file) {
		if strings.Join(splitKeepalived(uncomment(line)), " ") == i.Title()+" {" {
			i.opening, i.file = `^\s*`+quoteMeta.Replace(uncomment(line)), b.file
		}
	}
	return i
}

func (s *System) hook(b *block) *Hook {
	h := &Hook{Event: b.word(0), Where: where(b)}
	command := strings.Fields(b.word(1))
	if len(command) == 0 {
		return h
	}
	h.Path, h.User = command[0], b.word(2)
	switch {
	case strings.Contains(b.word(1), "hotplug-call keepalived"): // OpenWrt
		h.Ours = s.exists("/etc/hotplug.d/keepalived/50-wanfail")
	default:
		h.Ours = strings.Contains(b.word(1), "wanfail") || s.mentions(h.Path, "wanfail")
	}
	h.Parts = s.parts(h.Path)
	return h
}

// quoteMeta makes text a pattern of sed -E.
var quoteMeta = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `*`, `\*`, `+`, `\+`, `?`, `\?`, `(`, `\(`, `)`, `\)`, `[`, `\[`, `{`, `\{`, `|`, `\|`, `^`, `\^`, `$`, `\$`, `/`, `\/`)

func where(b *block) string { return b.file + ":" + strconv.Itoa(b.line) }
