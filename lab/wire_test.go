package lab

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// Frames as they were captured in the lab.
const (
	advertFrame = "01005e00001202770000100108004500002400010000ff70" + "8e95c0a84d02e0000012" + "314d9601000a" + "2fb7c0a84d01"
	arpFrame    = "ffffffffffff0268712e6267080600010800060400010268712e6267cb007252000000000000cb007252"
)

func frame(t *testing.T, s string) Frame {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return Frame{Data: b}
}

func TestDecode(t *testing.T) {
	f := frame(t, advertFrame)
	// 150 and one virtual address; the total length is that of the frame.
	f.Data[17] = byte(len(f.Data) - 14)
	a, ok := f.Advert()
	if !ok || a.From != netip.MustParseAddr("192.168.77.2") || a.Priority != 150 {
		t.Errorf("advert: %+v, %v", a, ok)
	}
	g := frame(t, arpFrame)
	arp, ok := g.ARP()
	if !ok || !arp.Gratuitous || arp.Reply || arp.Sender != netip.MustParseAddr("203.0.114.82") || arp.SenderMAC.String() != SharedMAC().String() {
		t.Errorf("ARP: %+v, %v", arp, ok)
	}
	if _, ok := g.Advert(); ok {
		t.Error("an ARP packet is an advert")
	}
	if _, ok := f.DHCP(); ok {
		t.Error("an advert is DHCP")
	}
}

func TestDecodeSurvivesAnything(t *testing.T) {
	for _, s := range []string{advertFrame, arpFrame} {
		full := frame(t, s).Data
		for n := 14; n <= len(full); n++ {
			f := Frame{Data: full[:n:n]}
			f.Advert()
			f.DHCP()
			f.ARP()
			_ = f.String()
		}
	}
}

func TestFilters(t *testing.T) {
	run := func(f Filter, frame Frame) bool {
		t.Helper()
		vm, err := bpf.NewVM(f)
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(frame.Data)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	udp := func(port byte) Frame {
		f := Frame{Data: make([]byte, 60)}
		copy(f.Data[12:], []byte{0x08, 0x00, 0x45})
		f.Data[23], f.Data[37] = 17, port
		return f
	}
	arp, advert := frame(t, arpFrame), frame(t, advertFrame)
	for _, c := range []struct {
		name   string
		filter Filter
		frame  Frame
		want   bool
	}{
		{"ARP is control", FilterControl(), arp, true},
		{"VRRP is control", FilterControl(), advert, true},
		{"DHCP to the server is control", FilterControl(), udp(67), true},
		{"DHCP to the client is control", FilterControl(), udp(68), true},
		{"other UDP is not", FilterControl(), udp(69), false},
		{"the shared MAC", FilterFrom(SharedMAC()), arp, true},
		{"another MAC", FilterFrom(SharedMAC()), advert, false},
	} {
		if got := run(c.filter, c.frame); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
