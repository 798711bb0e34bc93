package dhcp

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFindInterface(t *testing.T) {
	want, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := findInterface("lo")
	if err != nil || got.Index != want.Index || got.Name != "lo" {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := findInterface("nothere0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a missing one: %v", err)
	}
	if _, err := findInterface("a name longer than any interface has"); err == nil {
		t.Error("a name that is too long was found")
	}
}
