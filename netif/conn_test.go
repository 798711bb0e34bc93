package netif

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel's reason is part of the error.
func TestKernelReason(t *testing.T) {
	b := newBench(t)
	// In the answer to a write, and at the end of a dump.
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated("nosuchkind"))
	_, write := b.nl.do(unix.RTM_NEWLINK, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewIfInfomsg(unix.AF_UNSPEC), info)
	_, dump := b.nl.do(unix.RTM_GETROUTE, unix.NLM_F_DUMP, payload(make([]byte, 1)))
	for _, err := range []error{write, dump} {
		var errno unix.Errno
		if !errors.As(err, &errno) || !strings.HasPrefix(err.Error(), errno.Error()+": ") {
			t.Errorf("%v: want an errno and a reason", err)
		}
	}
}

// Whatever the bytes, an answer ends in an error or in messages.
func FuzzAnswer(f *testing.F) {
	msg := func(typ, flags uint16, seq uint32, data ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = binary.NativeEndian.AppendUint16(b, flags)
		b = binary.NativeEndian.AppendUint32(b, seq)
		return append(append(b, 0, 0, 0, 0), data...)
	}
	f.Add(msg(unix.RTM_NEWLINK, unix.NLM_F_MULTI, 1, 1, 2, 3, 4))
	f.Add(msg(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, 0, 0, 0, 0))
	f.Add(msg(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, 1, append([]byte{0xed, 0xff, 0xff, 0xff}, msg(16, 0, 1, 8, 0, 1, 0, 'n', 'o', 0, 0)...)...))
	f.Add(msg(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, 1, 0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		a := answer{seq: 1, visit: func(m []byte) { size += len(m) }}
		if err := a.add(b); err == nil && a.complete && len(b) < unix.SizeofNlMsghdr {
			t.Error("complete without a message")
		}
		if size > len(b) {
			t.Error("more than there was")
		}
	})
}
