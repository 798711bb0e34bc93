package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// System is where facts come from. Root "/" is this computer; a test has a
// directory of its own.
type System struct {
	Root string
	// Run runs a program and returns its output. An error is no output.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	Now func() time.Time
}

// maxText bounds what is read of a file.
const maxText = 1 << 20

func (s *System) path(name string) string { return filepath.Join(s.Root, filepath.FromSlash(name)) }

func (s *System) read(name string) ([]byte, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxText))
}

// text is the content of a file, empty if there is none.
func (s *System) text(name string) string {
	b, _ := s.read(name)
	return strings.TrimSpace(string(b))
}

func (s *System) lines(name string) []string { return strings.Split(s.text(name), "\n") }

// held reports whether a process has locked a file.
func (s *System) held(name string) bool {
	f, err := os.Open(s.path(name))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func (s *System) exists(name string) bool {
	_, err := os.Lstat(s.path(name))
	return err == nil
}

// mentions reports whether a script has a word in it. Programs are not searched.
func (s *System) mentions(name, word string) bool {
	b, err := s.read(name)
	return err == nil && bytes.HasPrefix(b, []byte("#!")) && bytes.Contains(b, []byte(word))
}

// maxGlob bounds the names that a pattern is compared with: it may be anybody's.
const maxGlob = 4096

// glob expands an absolute pattern below Root, with at most maxFiles results.
func (s *System) glob(pattern string) []string {
	if at, end := strings.IndexByte(pattern, '{'), strings.IndexByte(pattern, '}'); at >= 0 && end > at && strings.Count(pattern, "{") <= 2 {
		var all []string
		for _, choice := range strings.SplitN(pattern[at+1:end], ",", 8) {
			all = append(all, s.glob(pattern[:at]+choice+pattern[end+1:])...)
		}
		return all[:min(len(all), maxFiles)]
	}
	names, budget := []string{"/"}, maxGlob
	for _, part := range strings.Split(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range names {
			if !strings.ContainsAny(part, `*?[\`) {
				if at := path.Join(dir, part); s.exists(at) {
					next = append(next, at)
				}
				continue
			}
			entries, _ := os.ReadDir(s.path(dir))
			for _, e := range entries {
				if budget--; budget < 0 || len(next) == maxFiles {
					return nil
				}
				hidden := strings.HasPrefix(e.Name(), ".") && part[0] != '.'
				if ok, _ := path.Match(part, e.Name()); ok && !hidden {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		names = next
	}
	return names
}

// link is where a symbolic link points.
func (s *System) link(name string) string {
	to, _ := os.Readlink(s.path(name))
	return to
}

// parts are the components of a path, without symbolic links, with owner and mode.
func (s *System) parts(name string) (parts []Part) {
	if !path.IsAbs(name) {
		return nil
	}
	root, err := filepath.EvalSymlinks(s.Root)
	if err != nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return nil
	}
	rel, err := filepath.Rel(root, real)
	if err != nil {
		return nil
	}
	at := ""
	for _, next := range append([]string{"."}, strings.Split(rel, "/")...) {
		at = path.Join("/", at, next)
		info, err := os.Stat(filepath.Join(root, at))
		if err != nil {
			return nil
		}
		p := Part{Path: at, Mode: uint32(info.Mode().Perm())}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			p.UID, p.GID = st.Uid, st.Gid
		}
		if info.Mode()&fs.ModeSticky != 0 && info.IsDir() {
			p.Mode &^= 0o022 // others cannot replace what is not theirs
		}
		if p.GID == 0 {
			p.Mode &^= 0o020
		}
		parts = append(parts, p)
	}
	return parts
}

// uci is one section of a file of OpenWrt's.
type uci struct {
	kind    string
	name    string // or @kind[2], as uci(1) calls one that has none
	options map[string][]string
}

func (u uci) get(name string) string { return strings.Join(u.options[name], " ") }

// on is a boolean option as OpenWrt's config_get_bool reads it.
func (u uci) on(name string) bool {
	switch u.get(name) {
	case "1", "on", "true", "yes", "enabled":
		return true
	}
	return false
}

// uciFile reads /etc/config/NAME, leniently: not all of it is wanfail's to judge.
func (s *System) uciFile(name string) (sections []uci) {
	count := map[string]int{}
	for _, line := range s.lines("/etc/config/" + name) {
		words := splitUCI(strings.TrimSpace(line))
		switch {
		case len(words) >= 2 && words[0] == "config":
			u := uci{kind: words[1], options: map[string][]string{}}
			if u.name = fmt.Sprintf("@%s[%d]", u.kind, count[u.kind]); len(words) > 2 {
				u.name = words[2]
			}
			count[u.kind]++
			sections = append(sections, u)
		case len(words) == 3 && (words[0] == "option" || words[0] == "list") && len(sections) > 0:
			o := sections[len(sections)-1].options
			o[words[1]] = append(o[words[1]], strings.Fields(words[2])...)
		}
	}
	return sections
}

func splitUCI(line string) (words []string) {
	for line = strings.TrimSpace(line); line != "" && line[0] != '#'; line = strings.TrimSpace(line) {
		end := " \t"
		if line[0] == '\'' || line[0] == '"' {
			end, line = line[:1], line[1:]
		}
		at := strings.IndexAny(line, end)
		if at < 0 {
			at = len(line)
		}
		words = append(words, line[:at])
		line = strings.TrimPrefix(line[at:], end)
	}
	return words
}
