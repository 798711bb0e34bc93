package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// File is the resolv.conf, which is read and replaced as a whole. Where it is and
// how it is opened safely is known to the consumer of this package.
type File interface {
	// Read returns the content: fs.ErrNotExist without a file, another error if
	// it is longer than limit.
	Read(limit int) ([]byte, error)
	// Write replaces the content; whoever reads sees the old or the new.
	Write(content []byte) error
	// Remove removes the file, if there is one.
	Remove() error
	// String is its path.
	String() string
}

// maxFile bounds what is read: far above what all WANs' leases can hold.
const maxFile = 1 << 20

// file is a resolv.conf that holds a section for each link, so that one link's
// servers can be replaced without knowledge of the others', also by a process that
// has just started. dnsmasq sees a new file by inotify on its directory.
type file struct{ File }

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
	old, err := f.Read(maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
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
			sections[name] += strings.TrimSuffix(line, "\n") + "\n" // the last line may lack it
		}
	}
	delete(sections, link)
	if text != "" {
		sections[link] = text
	}
	if len(sections) == 0 {
		if err := f.Remove(); err != nil {
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
	if err := f.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write name servers: %w", err)
	}
	return nil
}
