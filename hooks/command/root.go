package command

import (
	"errors"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// errNotRoot is the end of a command that needs privileges which this process
// has not. Nothing was changed.
var errNotRoot = &usageError{"must be root; where keepalived runs this, its script_user must be root, too"}

// asRoot refuses a command at once where it could do nothing but fail half way.
// A --dry-run changes nothing.
func asRoot(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if !c.Bool("dry-run") && !privileged() {
			logger(c).Error(errNotRoot.Error(), "command", c.Command.Name)
			return errNotRoot
		}
		return action(c)
	}
}

// privileged reports whether this process is root or may change the network all
// the same (capabilities(7)): a service manager can run a keeper so.
func privileged() bool {
	if os.Geteuid() == 0 {
		return true
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// notAllowed explains a refusal by the kernel to a person who only reads the state.
func notAllowed(err error) error {
	if errors.Is(err, fs.ErrPermission) && !privileged() {
		return errNotRoot
	}
	return err
}
