// Package rundir is the directory that hooks and the keeper share: the record of
// role requests, the locks, the keeper's socket, remembered leases, and what other
// programs read there.
//
// Root trusts what it finds in this directory, so only root may be able to change
// it. Each access verifies the whole path first, as OpenSSH and keepalived do for
// their configuration: every component belongs to root or to this process's user
// and is writable by no other user. A parent such as /tmp that
// everybody may write to is accepted only where the sticky bit keeps others from
// replacing what is in it. The files are then opened relative to the verified
// directory, and symbolic links in it are never followed.
package rundir

import (
	"fmt"
	"path/filepath"
)

// Names of files that other packages need: inotify reports the files of a directory
// by their names.
const (
	// IntentFile is the record of role requests.
	IntentFile = "intent.json"
	// SocketFile is the keeper's unix socket.
	SocketFile = "keeper.sock"
)

// Dir is a run directory. It is a name only: each operation opens and verifies
// the directory anew, since it may be removed and made again while a keeper or
// `wanfail status --watch` runs.
type Dir struct{ path string }

// At returns the run directory of this path, which need not exist yet. A relative
// path counts from the working directory.
func At(path string) Dir {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return Dir{path: path}
}

// String returns the path.
func (d Dir) String() string { return d.path }

// Path returns the path of a file in d, for messages and for programs that read it.
func (d Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Intents is the record of role requests.
func (d Dir) Intents() File { return File{d, IntentFile, 0o644} }

// Lease is what the DHCP client of a WAN remembers.
func (d Dir) Lease(wan string) File { return File{d, wan + ".lease", 0o600} }

// Scripts is the record of the events that user scripts were called for.
func (d Dir) Scripts() File { return File{d, "scripts.json", 0o600} }

// ResolvConf holds the name servers of the leases. dnsmasq reads it as a user of
// its own.
func (d Dir) ResolvConf() File { return File{d, "resolv.conf", 0o644} }

// IntentLock is held while the record of role requests is replaced.
func (d Dir) IntentLock() Lock { return Lock{d, "intent.lock"} }

// StartLock is held by the hook that starts a keeper.
func (d Dir) StartLock() Lock { return Lock{d, "start.lock"} }

// KeeperLock is held by the keeper, or by a hook that acts without one.
func (d Dir) KeeperLock() Lock { return Lock{d, "keeper.lock"} }

// UnsafeError is a path that another user could change.
type UnsafeError struct {
	Path   string // the component
	Reason string
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("%s %s: another user could change what wanfail does as root; "+
		"give it to root (chown root, chmod go-w), remove it, or choose another directory with --run-dir", e.Path, e.Reason)
}
