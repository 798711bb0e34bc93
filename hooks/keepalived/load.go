package keepalived

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strconv"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
)

// Load reads the configuration that begins in file.
func Load(t files.Tree, file string) (*Config, error) {
	id := ""
	if p := Running(t); p != nil {
		id = argument(p.Args, "-i", "--config-id")
	}
	return load(t, file, id)
}

func load(t files.Tree, file, id string) (*Config, error) {
	if id == "" {
		id, _, _ = strings.Cut(t.Text("/proc/sys/kernel/hostname"), ".")
	}
	root, read, err := parse(t, file, id)
	if err != nil {
		return nil, err
	}
	k := &Config{File: file, Files: read, User: "root", TrackFiles: map[string]TrackFile{}, Scripts: map[string]string{}}
	version := 2
	if strings.Contains("\n"+t.Text("/etc/passwd"), "\nkeepalived_script:") {
		k.User = "keepalived_script"
	}
	for _, g := range root.all("global_defs") {
		for _, u := range g.all("script_user") {
			k.User, k.UserFrom = u.word(1), u.file
		}
		_, on := g.value("enable_script_security")
		k.Security = k.Security || on
		if v, ok := g.value("vrrp_version"); ok {
			version, _ = strconv.Atoi(v)
		}
		for _, h := range g.all("vrrp_notify_fifo_script", "notify_fifo_script") {
			k.FIFO = append(k.FIFO, hook(t, h))
		}
	}
	for _, b := range root.all("track_file", "vrrp_track_file") {
		name, _ := b.value("file")
		f := TrackFile{Path: name, Weight: "1"}
		if path.IsAbs(name) {
			f.Value, f.Held = t.Text(name), t.Locked(name)
		}
		for _, w := range b.all("weight") {
			f.Weight = strings.Join(w.words[1:], " ")
		}
		k.TrackFiles[b.word(1)] = f
	}
	for _, b := range root.all("vrrp_script") {
		k.Scripts[b.word(1)], _ = b.value("script")
	}
	for _, b := range root.all("vrrp_instance", "vrrp_sync_group") {
		k.Instances = append(k.Instances, instance(t, b, version))
	}
	return k, nil
}

func instance(t files.Tree, b *block, version int) *Instance {
	i := &Instance{
		Name: b.word(1), Group: b.word(0) == "vrrp_sync_group", Where: b.where(),
		VIPs: b.firsts("virtual_ipaddress"), Tracked: b.firsts("track_interface"), Unicast: b.firsts("unicast_peer"), Checks: b.firsts("track_script"),
	}
	i.State, _ = b.value("state")
	i.Interface, _ = b.value("interface")
	i.RouterID, _ = b.value("virtual_router_id")
	i.Source, _ = b.value("unicast_src_ip")
	_, i.NoPreempt = b.value("nopreempt")
	i.Priority, _ = strconv.Atoi(b.or("priority", "100"))
	i.Advert, _ = strconv.ParseFloat(b.or("advert_int", "1"), 64)
	i.Version, _ = strconv.Atoi(b.or("version", strconv.Itoa(version)))
	i.Delay, _ = strconv.ParseFloat(b.or("preempt_delay", "0"), 64)
	if _, native := b.value("native_ipv6"); native || len(i.VIPs) > 0 && strings.Contains(i.VIPs[0], ":") {
		i.Version = 3 // there is no other one of IPv6
	}
	for _, a := range b.all("authentication") {
		if i.Version != 3 {
			i.Auth = authentication(a)
		}
	}
	for _, t := range b.all("track_interface") {
		for _, line := range t.inner {
			if len(line.words) > 0 && (line.word(1) != "weight" || line.word(2) == "0") {
				i.Needed = append(i.Needed, line.word(0))
			}
		}
	}
	for _, t := range b.all("track_file") {
		for _, f := range t.inner {
			if len(f.words) == 0 {
				continue
			}
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
	for _, h := range b.all(Events()...) {
		i.Hooks = append(i.Hooks, hook(t, h))
	}
	found := 0
	for _, line := range t.Lines(b.file) {
		if strings.Join(splitLine(uncomment(line)), " ") == i.Title()+" {" {
			i.Opening, i.File = uncomment(line), b.file
			found++
		}
	}
	if found != 1 {
		i.Opening, i.File = "", ""
	}
	return i
}

// authentication is the kind, and a fingerprint of the password that only suffices
// to compare two: doctor's output is carried from one router to the other.
func authentication(b *block) string {
	kind, _ := b.value("auth_type")
	if kind == "" {
		return ""
	}
	pass, _ := b.value("auth_pass")
	sum := sha256.Sum256([]byte(kind + "\x00" + pass))
	return kind + " " + hex.EncodeToString(sum[:2])
}

func hook(t files.Tree, b *block) *Hook {
	h := &Hook{Event: b.word(0), Command: b.word(1), Where: b.where()}
	command := strings.Fields(h.Command)
	if len(command) == 0 {
		return h
	}
	h.Path, h.User = command[0], b.word(2)
	switch {
	case strings.Contains(h.Command, "hotplug-call keepalived"): // OpenWrt
		h.Ours = t.Exists("/etc/hotplug.d/keepalived/50-wanfail")
	default:
		h.Ours = strings.Contains(h.Command, "wanfail") || t.Mentions(h.Path, "wanfail")
	}
	h.Parts = t.Parts(h.Path)
	return h
}
