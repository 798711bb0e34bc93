package dhcp

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// findInterface finds an interface by its name. net.InterfaceByName lists all of
// them, which with a WAN among many is most of the work of an exchange.
func findInterface(name string) (*net.Interface, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return nil, os.NewSyscallError("SIOCGIFINDEX", err)
	}
	return &net.Interface{Index: int(request.Uint32()), Name: name}, nil
}
