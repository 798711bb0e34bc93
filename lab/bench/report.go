package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Write writes the results as Markdown.
func (r *Results) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n")
	how := "`make bench`"
	if r.Quick {
		how = "`make bench QUICK=1`, with few rounds"
	}
	fmt.Fprintf(&b, "Written by %s on %s in %s; not to be edited. A value is the median of its rounds, with the\n"+
		"least and the most. All of it was measured in one run, the contestants taking turns, in the lab\n"+
		"(lab/doc.go): two routers, an ISP, a LAN and an internet host in namespaces of one computer, which also\n"+
		"makes the traffic. What the numbers mean is in [sessions.md](sessions.md).\n\n",
		how, r.Began.UTC().Format("2006-01-02"), r.Took.Round(time.Second))
	fmt.Fprintf(&b, "- Machine: %s\n- Versions: %s\n\n", machine(), strings.Join(r.versions(), ", "))
	r.writeGoals(&b)
	r.writeHooks(&b)
	r.writeSessions(&b)
	r.writeScale(&b)
	r.writeCost(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// machine describes the computer, without its name.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	var info unix.Sysinfo_t
	memory := ""
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf(", %d GB", (uint64(info.Totalram)*uint64(info.Unit)+1<<29)>>30)
	}
	return fmt.Sprintf("%s, %d CPUs%s, Linux %s", model, runtime.NumCPU(), memory, kernel)
}

// shown are the packages whose versions matter.
var shown = []string{"keepalived", "conntrackd", "dnsmasq", "udhcpc", "isc-dhcp-client", "dhcpcd-base", "systemd"}

func (r *Results) versions() []string {
	versions := []string{strings.Replace(r.prepared.Version, " version ", " ", 1), r.prepared.Go}
	manifest, err := os.ReadFile(filepath.Join(sandbox.ImageDir, "lab-manifest"))
	if err == nil {
		for line := range strings.Lines(string(manifest)) {
			if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok && slices.Contains(shown, name) {
				versions = append(versions, name+" "+version)
			}
		}
	}
	return slices.DeleteFunc(versions, func(s string) bool { return s == "" })
}

// table writes one in Markdown.
func table(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}

func (r *Results) writeHooks(b *strings.Builder) {
	if r.Hooks == nil {
		return
	}
	b.WriteString("## Hook to usable WAN\n\nFrom the making of the hook's process until the default route is in the kernel and the gateway has\n" +
		"answered a ping. The columns are the round trip to the ISP's DHCP server; the gateway is near. The server\n" +
		"knows each client and answers at once. \"wanfail\" without more has its keeper running, as installed.\n\n")
	head := []string{""}
	for _, rtt := range roundTrips {
		head = append(head, millis(rtt))
	}
	head[1] = "0 ms"
	var rows [][]string
	for _, h := range r.Hooks {
		row := []string{h.Contestant.Name}
		for _, s := range h.Alive {
			row = append(row, s.String())
		}
		rows = append(rows, append(row, h.Dead.String()))
	}
	table(b, append(head, "server dead"), rows)
}

func (r *Results) writeSessions(b *strings.Builder) {
	if r.Sessions == nil {
		return
	}
	b.WriteString("## Sessions\n\nTCP sessions from the LAN to the internet, half of them pushed by the server and half echoed, 20 ms between\n" +
		"two packets, through a firewall that drops what conntrack calls invalid. The gap is the longest time without\n" +
		"data of a surviving session, of which min, median and max are given; the outage is that of a UDP echo with a\n" +
		"probe each 5 ms, from the last one answered before to the first one answered after.\n\n")
	for _, sc := range []lab.Scenario{lab.Crash, lab.Stop, lab.Failback} {
		var rows [][]string
		for _, s := range r.Sessions {
			if s.Scenario == sc {
				rows = append(rows, s.row())
			}
		}
		fmt.Fprintf(b, "### %s\n\n", map[lab.Scenario]string{
			lab.Crash: "Crash", lab.Stop: "Stop of keepalived on the master", lab.Failback: "Failback: the router with the higher priority returns",
		}[sc])
		table(b, []string{"", "adverts", "rounds", "sessions lost in a round", "outage", "detection (VRRP)", "gap: min", "median", "max"}, rows)
	}
}

func (s *SessionResult) row() []string {
	least, most := s.Sessions, 0
	for _, n := range s.Survived {
		least, most = min(least, s.Sessions-n), max(most, s.Sessions-n)
	}
	lost := fmt.Sprintf("**%d** of %d", most, s.Sessions)
	if least != most {
		lost = fmt.Sprintf("**%d to %d** of %d", least, most, s.Sessions)
	}
	if s.LostPush+s.LostEcho > 0 {
		lost += fmt.Sprintf(" (in all %d pushed, %d echoed)", s.LostPush, s.LostEcho)
	}
	if s.Overlap > 0 {
		lost += fmt.Sprintf("; both routers transmitted in %d rounds", s.Overlap)
	}
	rounds := fmt.Sprint(len(s.Survived))
	if s.Void > 0 {
		rounds += fmt.Sprintf(" (%d repeated: the lab failed)", s.Void)
	}
	outage := s.Outage.String()
	if s.Broken > 0 {
		outage += fmt.Sprintf(", no path any more in %d rounds", s.Broken)
	}
	return []string{
		s.Contender.Name, s.Advert.String(), rounds, lost, outage, s.Detection.String(),
		s.Least.String(), s.Median.String(), s.Most.String(),
	}
}

func (r *Results) writeScale(b *strings.Builder) {
	if r.Scale == nil {
		return
	}
	b.WriteString("## Scale\n\nWANs on one port, each with a lease of its own. Time from the hook to the last default route (wanfail, cold) or\n" +
		"address (script: its udhcpc has room for one default route). Memory and CPU are the keeper's while primary.\n\n")
	var rows [][]string
	for _, s := range r.Scale {
		rows = append(rows, []string{
			fmt.Sprint(s.WANs), s.Wanfail.String(), s.Far.String(), s.Script.String(),
			fmt.Sprintf("%s (%s of it anonymous)", megabytes(s.RSS), megabytes(s.Anonymous)),
			millis(s.Promotion), fmt.Sprintf("%s a minute", millis(s.Idle)),
		})
	}
	table(b, []string{"WANs", "wanfail", fmt.Sprintf("wanfail, server %v away", farAway), "script + udhcpc", "RSS", "CPU of a promotion", "CPU idle"}, rows)
}

func megabytes(kB int) string { return fmt.Sprintf("%.1f MB", float64(kB)/1024) }

func (r *Results) writeCost(b *strings.Builder) {
	c := r.Cost
	if c == nil {
		return
	}
	b.WriteString("## Cost\n\nA MB is 2^20 bytes.\n\n")
	var rows [][]string
	for _, bin := range c.Binaries {
		name := "binary, " + bin.Arch
		if bin.Tags != "" {
			name += " (" + bin.Tags + ")"
		}
		rows = append(rows, []string{name, fmt.Sprintf("%.2f MB", float64(bin.Bytes)/(1<<20))})
	}
	rows = append(rows,
		[]string{"RSS of the keeper, backup", fmt.Sprintf("%s (%s anonymous)", megabytes(c.BackupRSS), megabytes(c.BackupAnon))},
		[]string{"RSS of the keeper, primary", fmt.Sprintf("%s (%s anonymous)", megabytes(c.PrimaryRSS), megabytes(c.PrimaryAnon))},
		[]string{"RSS of a hook, at most", megabytes(c.HookRSS)},
		[]string{"hook: start of the process to poke of the keeper", c.Poke.String()},
		[]string{"CPU of the keeper, idle as primary", millis(c.Idle) + " a minute"},
		[]string{"CPU of the keeper, 200 sessions pass", millis(c.Traffic) + " a minute"},
		[]string{"`wanfail --version`", c.Version.String()},
		[]string{"`/bin/true`, for comparison", c.True.String()},
	)
	table(b, []string{"", ""}, rows)
}
