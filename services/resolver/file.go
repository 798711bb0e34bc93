package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is a resolv.conf that holds a section for each link, so that one link's
// servers can be replaced without knowledge of the others', also by a process that
// has just started. dnsmasq sees a new file by inotify on its directory.
type file struct{ path string }

func (f file) String() string { return f.path }

func (f file) usable(context.Context) bool { return true }

func (f file) set(_ context.Context, link string, servers []netip.Addr, search []string) error {
	return f.replace(link, text(servers, search))
}

func (f file) revert(_ context.Context, link string) error { return f.replace(link, "") }

const (
	headline = "# Written by wanfail, from the leases of the links below.\n"
	section  = "# link " // followed by the link's name
)

// replace gives a link's section a new text; "" removes it, and with the last
// section the file.
func (f file) replace(link, text string) error {
	old, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read name servers: %w", err)
	}
	sections := map[string]string{}
	name := ""
	for line := range strings.Lines(string(old)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), strings.TrimSpace(section)+" "); ok {
			name = n
			continue
		}
		if checkLink(name) == nil { // else damage, or somebody else's
			sections[name] += line
		}
	}
	delete(sections, link)
	if text != "" {
		sections[link] = text
	}
	if len(sections) == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove name servers: %w", err)
		}
		return nil
	}
	var b bytes.Buffer
	b.WriteString(headline)
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		b.WriteString(section + name + "\n" + sections[name])
	}
	if bytes.Equal(b.Bytes(), old) {
		return nil
	}
	return write(f.path, b.Bytes())
}

// write replaces a file as a whole. It is on a tmpfs: nothing to sync.
func write(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".resolv.conf-")
	if err != nil {
		return fmt.Errorf("write name servers: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write name servers: %w", err)
		}
	}()
	_, err = f.Write(text)
	// dnsmasq reads it as a user of its own.
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
