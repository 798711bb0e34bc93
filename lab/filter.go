package lab

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Filter selects frames in the kernel.
type Filter []bpf.Instruction

// take is how much of a selected frame is kept: all of it.
const take = 1 << 18

// FilterFrom selects the frames with this source MAC address.
func FilterFrom(mac net.HardwareAddr) Filter {
	return Filter{
		bpf.LoadAbsolute{Off: 6, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac[0:4]), SkipTrue: 3},
		bpf.LoadAbsolute{Off: 10, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:6])), SkipTrue: 1},
		bpf.RetConstant{Val: take},
		bpf.RetConstant{Val: 0},
	}
}

// FilterControl selects ARP, VRRP and DHCP for IPv4: what a failover is made of,
// without the traffic that it carries.
func FilterControl() Filter {
	return Filter{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoVRRP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 5},
		bpf.LoadMemShift{Off: 14},
		bpf.LoadIndirect{Off: 16, Size: 2}, // destination port
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 68, SkipTrue: 1},
		bpf.RetConstant{Val: take},
		bpf.RetConstant{Val: 0},
	}
}

const protoVRRP = 112
