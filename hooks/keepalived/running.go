package keepalived

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
)

// Process is a keepalived that runs.
type Process struct {
	PID  int
	Args []string
	Dir  string // its working directory
}

// Running is the keepalived that runs here, not in a container; nil if none does.
// Any user may run a program of that name with a configuration that names files for
// root to read and write: only root's process counts, of a program that only root
// can change.
func Running(t files.Tree) *Process {
	here := t.Link("/proc/self/ns/pid")
	for _, pid := range t.Processes() { // the first has started the others
		proc := "/proc/" + strconv.Itoa(pid)
		if !strings.HasPrefix(t.Text(proc+"/comm"), "keepalived") || t.Link(proc+"/ns/pid") != here || !roots(t, proc) {
			continue
		}
		return &Process{PID: pid, Args: strings.Split(t.Text(proc+"/cmdline"), "\x00"), Dir: t.Link(proc + "/cwd")}
	}
	return nil
}

// roots reports whether a process is root's alone: all its user ids are 0 (a
// set-uid program has the caller's, too), and it runs keepalived, where only root
// could have put it.
func roots(t files.Tree, proc string) bool {
	uids := false
	for _, line := range t.Lines(proc + "/status") {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			uids = slices.Equal(strings.Fields(ids), []string{"0", "0", "0", "0"})
		}
	}
	exe, deleted := strings.CutSuffix(t.Link(proc+"/exe"), " (deleted)")
	if !uids || !path.IsAbs(exe) || !strings.HasPrefix(path.Base(exe), "keepalived") {
		return false
	}
	if deleted { // an upgrade has replaced it
		exe = path.Dir(exe)
	}
	parts := t.Parts(exe)
	return len(parts) > 0 && !slices.ContainsFunc(parts, files.Part.Changeable)
}

// Find reads the configuration that is in force: that of the keepalived that
// runs, else the one where the platform has it.
func Find(t files.Tree) (k *Config, err error) {
	name, id := DefaultFile, ""
	openWrt := t.Exists("/etc/openwrt_release")
	if openWrt { // its init script never reads the default
		name = UCIFile
	}
	if p := Running(t); p != nil {
		id = argument(p.Args, "-i", "--config-id")
		if file := argument(p.Args, "-f", "--use-file"); path.IsAbs(file) {
			name = file
		} else if file != "" {
			name = path.Join(p.Dir, file)
		}
	}
	if name == UCIFile && openWrt { // in a directory where anybody may write
		if err := t.Owned(name); err != nil {
			return nil, err
		}
		if to := t.Link(name); path.IsAbs(to) { // option alt_config_file
			name = to
		}
	}
	return load(t, name, id)
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
