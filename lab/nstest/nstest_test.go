package nstest_test

import (
	"net"
	"testing"

	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestNamespacesAreApart(t *testing.T) {
	ns := nstest.New(t)
	ns.Veth(t, "here0", "there0")
	if _, err := net.InterfaceByName("here0"); err != nil {
		t.Error(err)
	}
	if _, err := net.InterfaceByName("there0"); err == nil {
		t.Error("the peer's end is visible here")
	}
	ns.Do(t, func() error {
		_, err := net.InterfaceByName("there0")
		return err
	})
	if out, err := ns.Command("ip", "link", "show", "there0").CombinedOutput(); err != nil {
		t.Errorf("ip link in the other namespace: %v: %s", err, out)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(ifs) != 2 {
		t.Errorf("got %d interfaces, want lo and here0 only: %v", len(ifs), ifs)
	}
}
