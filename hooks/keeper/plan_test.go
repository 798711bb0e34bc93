package keeper

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/rundir"
)

func TestClientIsTheSameOnBothRouters(t *testing.T) {
	wan := config.WAN{
		Name: "wan", MAC: []byte{2, 0, 0, 0, 0, 1}, Hostname: "gate", VendorClass: "v", UserClass: "u",
		ClientID: []byte{1, 2}, Broadcast: true, RapidCommit: true, Request: []uint8{90}, Priority: 6,
		Send: []config.DHCPOption{{Code: 90, Data: []byte{1}}}, Expect: netip.MustParsePrefix("100.64.0.0/10"),
	}
	file := rundir.At("/run/wanfail").Lease("wan")
	got := clientConfig(wan, file)
	want := dhcp.Config{
		Interface: "wan", MAC: wan.MAC, Hostname: "gate", VendorClass: "v", UserClass: "u", ClientID: []byte{1, 2},
		Broadcast: true, RapidCommit: true, Request: []uint8{90}, Priority: 6,
		Send: []dhcp.Option{{Code: 90, Data: []byte{1}}}, Expect: wan.Expect, LeaseFile: file,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
