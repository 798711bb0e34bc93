package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// units of the image are where its packages put them.
const units = "/usr/lib/systemd/system/"

// asInstalled fills the disk of a bare router.
func (r *Router) asInstalled() error {
	r.bare = true
	if err := r.writeMachineID(); err != nil {
		return err
	}
	// The image masks what a machine of the lab has no need of. A router applies
	// /etc/sysctl.d when it boots.
	const sysctl = "systemd-sysctl.service"
	unit, err := os.ReadFile(filepath.Join(sandbox.ImageDir, units, sysctl))
	if err != nil {
		return err
	}
	if err := r.WriteFile("/etc/systemd/system/"+sysctl, string(unit), 0o644); err != nil {
		return err
	}
	// What Debian's conntrackd.conf comes to, which the image leaves out.
	if err := r.WriteFile("/etc/conntrackd/conntrackd.conf", "General {\n\tSystemd on\n\tLockFile /var/lock/conntrack.lock\n"+
		"\tUNIX {\n\t\tPath /var/run/conntrackd.ctl\n\t}\n}\nStats {\n}\n", 0o644); err != nil {
		return err
	}
	// Debian enables what it installs.
	for _, s := range []string{"networking", "keepalived", "conntrackd", "dnsmasq"} {
		s += ".service"
		if err := r.disk.Symlink(units+s, "/etc/systemd/system/multi-user.target.wants/"+s); err != nil {
			return fmt.Errorf("enable %s: %w", s, err)
		}
	}
	return r.disk.Symlink(units+"networking.service", "/etc/systemd/system/network-online.target.wants/networking.service")
}
