package deb

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// What the ISP says of names, and a name that its server knows.
const (
	ispDomain = "isp.test"
	someName  = "www.internet.test"
)

// TestResolver: the lease's name servers go to whatever resolves names on the
// router, from within the service's sandbox, and are taken back on demotion.
func TestResolver(t *testing.T) {
	w := build(t, 90*time.Second)
	r := w.l.Router(0)
	w.install(r, older)
	w.must(r.WriteFile("/etc/dnsmasq.d/lan.conf", "interface=eth1\nbind-dynamic\nresolv-file=/run/wanfail/resolv.conf\n", 0o644))
	w.configure(r)
	keeper := w.pid(r)

	// Nothing else is there: a file, for dnsmasq.
	const file = "/run/wanfail/resolv.conf"
	w.run(r, "wanfail", "primary")
	w.eventually(file, func() (bool, error) {
		text, _ := r.ReadFile(file)
		return strings.Contains(text, "\nnameserver "+lab.Gateway.String()+"\nsearch "+ispDomain+"\n"), nil
	})
	w.isPrimary(r)
	w.eventually("dnsmasq resolves", func() (bool, error) {
		return strings.Contains(w.says(r, "busybox", "nslookup", someName, r.Address().String()), lab.InternetAddr.String()), nil
	})
	w.run(r, "wanfail", "backup")
	w.gone(r, file)

	// resolved comes while the keeper runs: SIGHUP makes it look again.
	w.run(r, "wanfail", "primary")
	w.isPrimary(r)
	w.run(r, "systemctl", "start", "systemd-resolved")
	w.run(r, "systemctl", "kill", "--signal=HUP", "wanfail")
	w.resolves(r)
	w.gone(r, file)
	if now := w.pid(r); now != keeper {
		t.Errorf("the keeper was process %s and is %s: SIGHUP has ended it", keeper, now)
	}
	if got := w.run(r, "resolvectl", "domain", "wan"); !strings.HasSuffix(got, ": "+ispDomain) {
		t.Errorf("resolved's search domains: %q", got)
	}
	// What it was told went with the link.
	w.run(r, "ip", "link", "delete", "wan")
	w.isPrimary(r)
	w.resolves(r)
	// Not wanted any more.
	w.must(r.WriteFile("/etc/wanfail.conf", wanfailConf+"\toption peerdns '0'\n", 0o644))
	w.run(r, "systemctl", "restart", "wanfail")
	w.knowsNothing(r)
	w.isPrimary(r)
	w.must(r.WriteFile("/etc/wanfail.conf", wanfailConf, 0o644))
	w.run(r, "systemctl", "restart", "wanfail")
	w.resolves(r)
	w.run(r, "wanfail", "backup")
	w.knowsNothing(r)
	w.isBackup(r)
	if now := w.pid(r); now == keeper {
		t.Error("the keeper was not restarted: this test has seen nothing")
	}
	w.resolvconf(r)
}

// resolves waits until systemd-resolved uses the lease's name server.
func (w *world) resolves(r *lab.Router) {
	w.Helper()
	w.eventually("resolved knows the name server", func() (bool, error) {
		return strings.HasSuffix(w.says(r, "resolvectl", "dns", "wan"), ": "+lab.Gateway.String()), nil
	})
	if got := w.run(r, "resolvectl", "query", someName); !strings.Contains(got, lab.InternetAddr.String()) {
		w.Errorf("resolved says %q", got)
	}
}

func (w *world) knowsNothing(r *lab.Router) {
	w.Helper()
	w.eventually("resolved has forgotten the name server", func() (bool, error) {
		return !strings.Contains(w.run(r, "resolvectl", "dns"), lab.Gateway.String()), nil
	})
}

// gone waits until a file does not exist.
func (w *world) gone(r *lab.Router, path string) {
	w.Helper()
	w.eventually(path+" is gone", func() (bool, error) {
		_, err := r.Run(w.ctx, "test", "!", "-e", path)
		return err == nil, nil
	})
}

// resolvconf swaps resolved for Debian's resolvconf, into which the package of
// dnsmasq hooks a script that writes to a folder of dnsmasq's.
func (w *world) resolvconf(r *lab.Router) {
	w.Helper()
	w.run(r, "systemctl", "stop", "systemd-resolved")
	w.run(r, "dpkg", "--purge", "systemd-resolved")
	w.run(r, "sh", "-c", "DEBIAN_FRONTEND=noninteractive dpkg --install /var/lib/lab/resolvconf_*.deb")
	w.run(r, "systemctl", "start", "resolvconf")
	w.run(r, "wanfail", "primary")
	w.isPrimary(r)
	const record, forDnsmasq = "/run/resolvconf/interface/wan.wanfail", "/run/dnsmasq/resolv.conf"
	for path, want := range map[string]string{
		record:             "nameserver " + lab.Gateway.String() + "\nsearch " + ispDomain + "\n",
		forDnsmasq:         "nameserver " + lab.Gateway.String() + "\n",
		"/etc/resolv.conf": "search " + ispDomain + "\n",
	} {
		var text string
		w.eventually(path, func() (bool, error) {
			text = w.says(r, "cat", path) + "\n"
			return strings.Contains(text, want), nil
		})
	}
	w.run(r, "wanfail", "backup")
	w.gone(r, record)
	w.eventually("dnsmasq's list is empty", func() (bool, error) {
		text := w.says(r, "cat", forDnsmasq)
		return !strings.Contains(text, lab.Gateway.String()), nil
	})
}
