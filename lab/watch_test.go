package lab

import (
	"strings"
	"testing"
)

func TestHookRole(t *testing.T) {
	const path = "/usr/sbin/wanfail"
	for _, c := range []struct {
		args string
		role string
		ok   bool
	}{
		{"/usr/sbin/wanfail|primary", "primary", true},
		{"/usr/sbin/wanfail|stop|", "stop", true},
		{"wanfail|backup", "backup", true},
		{"/bin/sh|/usr/sbin/wanfail|fault", "fault", true},
		{"sh|-c|/usr/sbin/wanfail backup", "backup", true},
		{"/usr/sbin/wanfail|notify|INSTANCE|VI_1|MASTER|150", "notify INSTANCE VI_1 MASTER 150", true},
		{"/usr/sbin/wanfail|--run-dir|/run/wanfail|keeper", "", true},
		{"/usr/sbin/wanfail|status|--json", "", true},
		{"/usr/sbin/keepalived|--dont-fork", "", false},
		{"", "", false},
	} {
		role, ok := hookRole(strings.Split(c.args, "|"), path)
		if role != c.role || ok != c.ok {
			t.Errorf("%q: got %q, %v; want %q, %v", c.args, role, ok, c.role, c.ok)
		}
	}
}
