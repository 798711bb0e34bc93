package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// setting is a line of sysctl.d(5), its key with slashes.
type setting struct{ file, key, value string }

// sysctlFiles reads what a boot sets, in its order: by the names of the files,
// whatever directory they are in; of several with a name the first directory's.
func (s *System) sysctlFiles(systemd bool) (all []setting) {
	byName := map[string]string{}
	var names []string
	for _, dir := range []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"} {
		for _, file := range s.Glob(dir + "/*.conf") {
			if base := path.Base(file); byName[base] == "" {
				byName[base] = file
				names = append(names, base)
			}
		}
	}
	slices.Sort(names)
	var files []string
	for _, name := range names {
		files = append(files, byName[name])
	}
	if !systemd { // which reads it through a link in sysctl.d only
		files = append(files, "/etc/sysctl.conf")
	}
	for _, file := range files {
		for _, line := range s.Lines(file) {
			line = strings.TrimSpace(line)
			key, value, ok := strings.Cut(line, "=")
			if line == "" || line[0] == '#' || line[0] == ';' || !ok {
				continue
			}
			all = append(all, setting{file, slashes(strings.TrimSpace(key)), strings.TrimSpace(value)})
		}
	}
	return all
}

// slashes is a key of sysctl(8) as a path: if a dot comes first, dots and slashes
// change places.
func slashes(key string) string {
	if at := strings.IndexAny(key, "./"); at >= 0 && key[at] == '.' {
		return strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return key
}

// atBoot is the value that a boot sets, "" if none does, and the file. What names
// the key precedes a pattern.
func atBoot(all []setting, key string) (value, file string) {
	exact := false
	for _, s := range all {
		k := strings.TrimPrefix(s.key, "-")
		switch ok, _ := path.Match(k, key); {
		case k == key:
			value, file, exact = s.value, s.file, true
		case ok && !exact:
			value, file = s.value, s.file
		}
	}
	return value, file
}

// sysctlFile compares what is set with what a boot will set: of the settings that
// matter, those that are right now and will not be then.
func sysctlFile(f *Facts) (all []Finding) {
	check := func(key, want, missing, why string) {
		now := f.Sysctl[key]
		value, file := atBoot(f.Boots, key)
		will := value
		if will == "" {
			will = missing
		}
		good := func(v string) bool { return v == want || want[0] == '!' && v != want[1:] }
		if now == "" || !good(now) || good(will) { // what is wrong now is found elsewhere
			return
		}
		from := "no file of sysctl.d sets it"
		if file != "" {
			from = file + " sets it"
		}
		name := strings.NewReplacer(".", "/", "/", ".").Replace(key)
		all = append(all, one("sysctl-file", Warning, fmt.Sprintf("%s is %s, and %s after the next boot: %s", name, now, will, from), why, sysctl(name, now))...)
	}
	if !f.Forwards {
		check("net/ipv4/ip_forward", "1", "0", "after a boot a primary reaches the internet and the LAN behind it does not")
	}
	check("net/ipv4/conf/all/rp_filter", "!1", "0", "after a boot answers that arrive by another way than the route to their sender are dropped")
	if f.Conntrackd.Windows {
		check("net/netfilter/nf_conntrack_tcp_be_liberal", "1", "0", "after a boot replicated sessions have packets that count as invalid")
	}
	_, ports := f.names()
	for _, p := range ports {
		missing, _ := atBoot(f.Boots, "net/ipv6/conf/default/disable_ipv6")
		if missing == "" {
			missing = "0"
		}
		if !f.Quiet[p] {
			check("net/ipv6/conf/"+p+"/disable_ipv6", "1", missing, "after a boot the port sends IPv6 packets with its own MAC address")
		}
	}
	return all
}
