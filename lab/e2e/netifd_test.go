package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestNetifd is a router with OpenWrt's netifd, as far as the keeper can tell: it
// hears of the WAN, again when it has forgotten (its protocol handler asks by
// SIGHUP), and of the end. An `ifdown` deletes the route, a `network restart` takes
// the parent down meanwhile.
func TestNetifd(t *testing.T) {
	w := build(t, 40*time.Second, lab.Options{Backend: lab.Init})
	r := w.l.Router(0)
	const heard = "/var/log/ubus"
	w.must(r.WriteFile("/bin/ubus", "#!/bin/sh\nprintf '%s\\n' \"$*\" >>"+heard+"\n", 0o755))
	w.must(r.WriteFile("/lib/netifd/proto/wanfail.sh", "#!/bin/sh\n", 0o755))
	words := func() (lines []string) {
		text, _ := r.ReadFile(heard)
		return strings.Split(strings.TrimSpace(text), "\n")
	}
	last := func(what string) {
		t.Helper()
		w.eventually("netifd hears "+what, func() (bool, error) {
			lines := words()
			line := lines[len(lines)-1]
			return strings.HasPrefix(line, "call network.interface notify_proto ") && strings.Contains(line, what), nil
		})
	}
	w.role(r, "primary")
	addr := w.isPrimary(r)
	up := `"link-up":true,"ifname":"wan","address-external":true,"keep":false,"ipaddr":[{"ipaddr":"` + addr.Addr().String() + `"`
	last(up)
	if text := strings.Join(words(), "\n"); !strings.Contains(text, `"dns":["`+lab.Gateway.String()+`"]`) {
		t.Errorf("netifd was not told of the name server: %s", text)
	}
	if _, err := r.Run(w.ctx, "test", "-e", "/run/wanfail/resolv.conf"); err == nil {
		t.Error("name servers went to netifd and to a file")
	}

	out, err := r.Run(w.ctx, "wanfail", "status", "--json")
	w.must(err)
	var keeper struct {
		PID int `json:"pid"`
	}
	w.must(json.Unmarshal([]byte(out), &keeper))
	// `ifdown` deletes the routes that netifd was told of.
	_, err = r.Run(w.ctx, "ip", "route", "delete", "default", "dev", "wan")
	w.must(err)
	w.eventually("the default route is back", func() (bool, error) {
		out, err := r.Run(w.ctx, "ip", "route", "show", "default", "dev", "wan")
		return strings.Contains(out, lab.Gateway.String()), err
	})
	for _, step := range [][]string{
		{"ip", "link", "set", "eth2", "down"},
		{"ip", "address", "flush", "dev", "wan"},
		{"rm", heard},
		{"ip", "link", "set", "eth2", "up"},
		{"kill", "-HUP", strconv.Itoa(keeper.PID)},
	} {
		_, err := r.Run(w.ctx, step[0], step[1:]...)
		w.must(err)
	}
	last(up)
	if again := w.isPrimary(r); again != addr {
		t.Errorf("the address was %s and is %s", addr, again)
	}
	w.role(r, "backup")
	last(`{"interface":"wan","action":0,"link-up":false}`)
	w.isBackup(r)

	// procd's triggers start dnsmasq for a changed interface or configuration.
	_, err = r.Run(w.ctx, "/etc/init.d/dnsmasq", "start")
	w.must(err)
	w.eventually("dnsmasq is stopped again", func() (bool, error) {
		is, err := r.Running(w.ctx, "dnsmasq")
		return !is, err
	})
	w.isBackup(r)
}
