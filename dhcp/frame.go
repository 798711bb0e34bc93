package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	ipHeader  = 20
	udpHeader = 8
	protoUDP  = unix.IPPROTO_UDP
)

// captureFilter lets through unfragmented UDP to the client port that carries a
// message for mac, seen from the IP header on. What the WAN carries otherwise,
// and the DHCP of the operator's other customers, does not wake the process.
func captureFilter(mac net.HardwareAddr) ([]bpf.RawInstruction, error) {
	drop := func(left int) uint8 { return uint8(left) }
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: drop(9)},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: drop(7)}, // more fragments, or an offset
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: drop(4)},
		bpf.LoadIndirect{Off: udpHeader + offChaddr, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac), SkipTrue: drop(2)},
		bpf.LoadIndirect{Off: udpHeader + offChaddr + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: readBuffer},
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	return raw, nil
}

// udpPayload returns the DHCP message in an IPv4 packet, or false for whatever is
// not one. check is false for a packet whose checksum the sender left to a network
// card that it never met, as between containers.
func udpPayload(b []byte, check bool) ([]byte, bool) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return nil, false
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	// The frame may be longer than the packet, by padding, but never shorter.
	if header < ipHeader || total > len(b) || total < header+udpHeader || b[9] != protoUDP {
		return nil, false
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, false
	}
	if checksum(0, b[:header]) != 0 {
		return nil, false
	}
	udp := b[header:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpHeader || n > len(udp) || binary.BigEndian.Uint16(udp[2:]) != clientPort {
		return nil, false
	}
	udp = udp[:n]
	if sum := binary.BigEndian.Uint16(udp[6:]); check && sum != 0 && checksum(pseudo(b, n), udp) != 0 {
		return nil, false
	}
	return udp[udpHeader:], true
}

// broadcastDatagram wraps a message into UDP and IPv4, from 0.0.0.0 to
// 255.255.255.255.
func broadcastDatagram(payload []byte) []byte {
	n := udpHeader + len(payload)
	b := make([]byte, ipHeader+udpHeader, ipHeader+n)
	b[0] = 4<<4 | ipHeader/4
	binary.BigEndian.PutUint16(b[2:], uint16(ipHeader+n))
	b[8] = 64 // TTL
	b[9] = protoUDP
	copy(b[16:20], net.IPv4bcast.To4())
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipHeader]))
	udp := b[ipHeader:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(n))
	b = append(b, payload...)
	udp = b[ipHeader:]
	sum := checksum(pseudo(b, n), udp)
	if sum == 0 {
		sum = 0xffff // RFC 768: 0 says that there is none
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}

// pseudo sums the UDP pseudo header of the packet b with n bytes of UDP.
func pseudo(b []byte, n int) uint32 {
	sum := uint32(protoUDP) + uint32(n)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum
}

// checksum is the internet checksum (RFC 1071), started with sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// sockFilter reinterprets a program for setsockopt: both types mirror struct
// sock_filter.
func sockFilter(prog []bpf.RawInstruction) *unix.SockFilter {
	return (*unix.SockFilter)(unsafe.Pointer(&prog[0]))
}
