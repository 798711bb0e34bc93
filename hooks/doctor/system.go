package doctor

import (
	"bytes"
	"context"
	"errors"
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

// glob expands a pattern; where it is absolute, below Root.
func (s *System) glob(relative, pattern string) (names []string) {
	if !path.IsAbs(pattern) {
		pattern = relative
	}
	found, _ := filepath.Glob(s.path(pattern))
	for _, f := range found {
		rel, err := filepath.Rel(s.Root, f)
		if err == nil {
			names = append(names, "/"+filepath.ToSlash(rel))
		}
	}
	return names
}

// parts are the components of a path with owner and mode, as far as they exist.
func (s *System) parts(name string) (parts []Part) {
	if !path.IsAbs(name) {
		return nil
	}
	at := "/"
	for _, next := range append([]string{""}, strings.Split(path.Clean(name), "/")[1:]...) {
		at = path.Join(at, next)
		info, err := os.Stat(s.path(at))
		if err != nil {
			return parts
		}
		p := Part{Path: at, Mode: uint32(info.Mode().Perm())}
		if info.Mode()&fs.ModeSticky != 0 && info.IsDir() {
			p.Mode &^= 0o022 // others cannot replace what is not theirs
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			p.UID = st.Uid
		}
		parts = append(parts, p)
	}
	return parts
}

// uci is one section of a file of OpenWrt's.
type uci struct {
	kind, name string
	options    map[string][]string
}

func (u uci) get(name string) string { return strings.Join(u.options[name], " ") }

// uciFile reads /etc/config/NAME, leniently: not all of it is wanfail's to judge.
func (s *System) uciFile(name string) (sections []uci) {
	for _, line := range s.lines("/etc/config/" + name) {
		words := splitUCI(strings.TrimSpace(line))
		switch {
		case len(words) >= 2 && words[0] == "config":
			u := uci{kind: words[1], options: map[string][]string{}}
			if len(words) > 2 {
				u.name = words[2]
			}
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
