package hostile

import (
	"strings"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// leased is a first router that is primary with a lease.
func leased(w *world) {
	w.run(w.l.Router(0), "wanfail", "primary", "--wait", "10s")
	w.staysPrimary(w.l.Router(0))
}

func (w *world) staysPrimary(r *lab.Router) {
	w.Helper()
	_, ok, err := r.HasWAN()
	w.must(err)
	w.want(ok && w.report(r).Role.String() == "primary", "the router is not primary any more")
}

// connect is a Perl program: connections to the keeper's socket, which may be
// closed before anything is written.
const connect = `use Socket; $SIG{PIPE} = "IGNORE"; sub c { socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un("/run/wanfail/keeper.sock")) or return; $s } `

// settle is a request to become backup, as a hook sends it.
const settle = `{"op":"settle","intent":{"role":"backup","token":{"ticks":1},"state":"BACKUP","at":"2026-01-02T03:04:05Z"},"wait_ns":100000000}`

// fromUser are attacks by a user of the router without privileges.
var fromUser = []row{
	{"every command of wanfail", func(w *world) string {
		r := w.l.Router(0)
		for _, command := range []string{"backup", "primary", "notify INSTANCE VI_1 BACKUP 1", "release", "keeper", "drill --yes", "status"} {
			out, err := w.sh(r, "1000", "wanfail "+command)
			w.want(err != nil && strings.Contains(out, "must be root"), "wanfail %s: %v: %s", command, err, out)
		}
		w.staysPrimary(r)
		return "\"must be root\", exit code 2"
	}},
	{"talks to the keeper's socket, also where somebody has opened it (mode 0666)", func(w *world) string {
		r := w.l.Router(0)
		talk := `perl -e '` + connect + `my $s = c() or die "refused by the kernel: $!\n"; syswrite $s, q(` + settle + `)."\n"; print scalar <$s>'`
		out, err := w.sh(r, "1000", talk)
		w.want(err != nil && strings.Contains(out, "Permission denied"), "%v: %s", err, out)
		w.run(r, "chmod", "0666", "/run/wanfail/keeper.sock")
		out, _ = w.sh(r, "1000", talk)
		w.want(strings.Contains(out, "only root may ask the keeper"), "answer %q", out)
		w.run(r, "chmod", "0600", "/run/wanfail/keeper.sock")
		w.staysPrimary(r)
		return "the kernel refuses; with mode 0666 the keeper does (SO_PEERCRED), says why, and logs it once a minute at most"
	}},
	{"floods the socket for 3 s from 20 processes, also with mode 0666", func(w *world) string {
		r := w.l.Router(0)
		attack := func() {
			_, err := w.sh(r, "1000", `for i in $(seq 20); do perl -e '`+connect+`my $end = time + 3; while (time < $end) { my @s = map { c() } 1..50 }' & done; wait`)
			w.must(err)
		}
		w.bounded(r, 0.25, attack)
		w.run(r, "chmod", "0666", "/run/wanfail/keeper.sock")
		w.bounded(r, 1, attack)
		w.run(r, "chmod", "0600", "/run/wanfail/keeper.sock")
		w.staysPrimary(r)
		return "closed: nothing is felt; with mode 0666 at most one CPU busy and 32 MB; the role stays"
	}},
	{"makes the run directory before root does, with symbolic links in it (--run-dir in /tmp)", func(w *world) string {
		r := w.l.Router(1)
		w.must(r.WriteFile("/root/precious", "precious", 0o600))
		_, err := w.sh(r, "1000", `mkdir /tmp/run && cd /tmp/run && for f in intent.json.new keeper.lock start.lock wan.lease.new; do ln -s /root/precious $f; done && ln -s /root/made intent.lock`)
		w.must(err)
		out := w.fails(r, "wanfail", "--run-dir", "/tmp/run", "primary", "--wait", "1s")
		w.want(strings.Contains(out, "/tmp/run belongs to uid 1000"), "it says %s", out)
		out = w.fails(r, "wanfail", "--run-dir", "/tmp/run/below", "keeper")
		w.want(strings.Contains(out, "/tmp/run belongs to uid 1000"), "it says %s", out)
		text, err := r.ReadFile("/root/precious")
		w.want(err == nil && text == "precious", "the file holds %q, %v", text, err)
		w.fails(r, "test", "-e", "/root/made")
		return "refused, exit code 2, the directory and its owner are named; nothing is written or made"
	}},
	{"a hook with the umask 0, or with keepalived's 0177", func(w *world) string {
		r := w.l.Router(1)
		for _, mask := range []string{"0", "0177"} {
			dir := "/run/umask" + mask
			_, err := r.Run(w.ctx, "sh", "-c", "umask "+mask+"; wanfail --run-dir "+dir+" backup")
			w.must(err)
			got := w.run(r, "stat", "--format=%a", dir, dir+"/intent.json", dir+"/intent.lock")
			w.want(got == "755\n644\n600\n", "umask %s: modes %q", mask, got)
		}
		return "the same modes as always: 0755 the directory, 0600 or 0644 its files"
	}},
	{"a process called keepalived, with a configuration whose track_file is a FIFO or a symbolic link to root's file", func(w *world) string {
		r := w.l.Router(1)
		w.must(r.WriteFile("/root/shadow", "secret content", 0o600))
		_, err := w.sh(r, "1000", `mkdir /tmp/k && cd /tmp/k && cp /usr/bin/perl keepalived && mkfifo fifo && ln -s /root/shadow link &&
			printf 'vrrp_track_file a {\n file "/tmp/k/fifo"\n}\nvrrp_track_file b {\n file "/tmp/k/link"\n}\nvrrp_instance V {\n interface eth1\n virtual_router_id 1\n priority 1\n track_file {\n a weight 1\n b weight 1\n }\n}\n' >keepalived.conf`)
		w.must(err)
		p, err := r.Start(w.ctx, "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", "cd /tmp/k && exec ./keepalived -e 'sleep 60' -f /tmp/k/keepalived.conf")
		w.must(err)
		defer p.Stop(time.Second)
		w.eventually("the process", func() (bool, error) {
			out, err := r.Run(w.ctx, "pgrep", "--exact", "keepalived")
			return out != "", ignoreExit(err)
		})
		out, err := r.Run(w.ctx, "timeout", "20", "wanfail", "doctor")
		w.must(ignoreExit(err))
		w.want(!strings.Contains(out, "secret content") && !strings.Contains(out, "/tmp/k/"), "doctor says\n%s", out)
		out = w.fails(r, "timeout", "20", "wanfail", "drill", "--yes")
		w.want(!strings.Contains(out, "/tmp/k/"), "drill says\n%s", out)
		text, err := r.ReadFile("/root/shadow")
		w.want(err == nil && text == "secret content", "the file holds %q, %v", text, err)
		return "`doctor` and `drill` do not look at it: they believe root's keepalived only"
	}},
	{"(root) 500 connections that send nothing, and a hook that wants silence", func(w *world) string {
		r := w.l.Router(0)
		p, err := r.Start(w.ctx, "perl", "-e", connect+`my @s = map { c() } 1..500; $| = 1; print "open\n"; sleep 60`)
		w.must(err)
		defer p.Stop(time.Second)
		w.eventually("connections", func() (bool, error) { return strings.Contains(p.Output(), "open"), nil })
		var took time.Duration
		w.bounded(r, 0.5, func() {
			start := time.Now()
			hook, err := r.Start(w.ctx, "wanfail", "backup")
			w.must(err)
			w.eventually("no WAN", func() (bool, error) {
				link, err := r.Link("wan")
				return link == nil, err
			})
			took = time.Since(start)
			_ = hook.Wait()
		})
		w.want(took < time.Second, "silence took %v", took)
		return "silence within a second, as always: the record and the hook need no place at the socket; at most 128 callers, 32 MB"
	}},
}
