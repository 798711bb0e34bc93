package userhooks

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
)

// event is a new role of the router, or a change of a WAN's lease (dhcp.Event).
type event struct {
	name  string
	at    time.Time
	role  intent.Role
	by    string     // who asked for the role
	wan   config.WAN // of the lease
	lease *dhcp.Lease
	old   *dhcp.Lease // with dhcp.LeaseChanged and dhcp.LeaseLost
}

// ofRole reports whether the event is about the router's role.
func (e event) ofRole() bool { return e.wan.Name == "" }

// environment is what a script gets.
func (e event) environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
		"WANFAIL_EVENT=" + e.name, "WANFAIL_TIME=" + e.at.UTC().Format(time.RFC3339),
	}
	add := func(name, value string) {
		if value != "" {
			env = append(env, "WANFAIL_"+name+"="+value)
		}
	}
	if e.ofRole() {
		add("ROLE", e.role.String())
		add("BY", e.by)
		return env
	}
	add("WAN", e.wan.Name)
	add("PARENT", e.wan.Parent)
	add("MAC", e.wan.MAC.String())
	if e.old != nil {
		add("OLD_ADDRESS", e.old.Addr().String())
	}
	l := e.lease
	if l == nil {
		return env
	}
	add("ADDRESS", l.Addr().String())
	add("PREFIX", l.Prefix.String())
	add("SERVER", l.Server.String())
	if l.Gateway.IsValid() {
		add("GATEWAY", l.Gateway.String())
	}
	add("DNS", joined(l.DNS))
	add("DOMAIN", l.Domain)
	add("SEARCH", strings.Join(l.Search, " "))
	mtu := l.MTU
	if e.wan.MTU > 0 {
		mtu = e.wan.MTU
	}
	if mtu > 0 {
		add("MTU", strconv.Itoa(mtu))
	}
	if !l.Infinite() {
		add("LEASE_SECONDS", strconv.FormatInt(int64(l.TTL/time.Second), 10))
	}
	for _, o := range l.Extra {
		add("OPTION_"+strconv.Itoa(int(o.Code)), hex.EncodeToString(o.Data))
	}
	var routes []string
	for _, r := range l.Routes {
		text := r.Dst.String()
		if r.Gateway.IsValid() {
			text += ">" + r.Gateway.String()
		}
		routes = append(routes, text)
	}
	add("ROUTES", strings.Join(routes, " "))
	return env
}

func joined(addrs []netip.Addr) string {
	return strings.Trim(fmt.Sprint(addrs), "[]")
}
