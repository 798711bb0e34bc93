package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// version is what the packages are built as, between two releases.
const (
	version    = "v1.2.3-4-gabc1234"
	debVersion = "1.2.3+4.gabc1234"
	apkVersion = "1.2.3_p4"
)

// openwrtFiles is all that an OpenWrt package puts on a router.
var openwrtFiles = []string{
	"0600 /etc/config/wanfail",
	"0644 /etc/hotplug.d/keepalived/50-wanfail",
	"0755 /etc/init.d/wanfail",
	"0755 /etc/uci-defaults/90-wanfail",
	"0755 /lib/netifd/proto/wanfail.sh",
	"0644 /lib/upgrade/keep.d/wanfail",
	"0755 /usr/sbin/wanfail",
	"0644 /usr/share/wanfail/conntrackd/conntrackd-lan.conf",
	"0644 /usr/share/wanfail/conntrackd/conntrackd-link.conf",
	"0644 /usr/share/wanfail/hooks.d/dyndns",
	"0644 /usr/share/wanfail/hooks.d/notify-mail",
	"0644 /usr/share/wanfail/keepalived/keepalived-check.conf",
	"0644 /usr/share/wanfail/keepalived/keepalived-drill.conf",
	"0644 /usr/share/wanfail/keepalived/keepalived-fast.conf",
	"0644 /usr/share/wanfail/keepalived/keepalived-fifo.conf",
	"0644 /usr/share/wanfail/keepalived/keepalived.conf",
	"0755 /usr/share/wanfail/remove",
}

// debFiles is all that the Debian package puts on a router.
var debFiles = []string{
	"0644 /etc/wanfail.conf",
	"0755 /usr/sbin/wanfail",
	"0644 /usr/lib/modules-load.d/wanfail.conf",
	"0644 /usr/lib/systemd/network/10-wanfail.network",
	"0644 /usr/lib/systemd/system/conntrackd.service.d/wanfail.conf",
	"0644 /usr/lib/systemd/system/wanfail.service",
	"0644 /usr/lib/udev/rules.d/60-wanfail.rules",
	"0644 /usr/share/bash-completion/completions/wanfail",
	"0644 /usr/share/doc/wanfail/changelog.gz",
	"0644 /usr/share/doc/wanfail/copyright",
	"0644 /usr/share/doc/wanfail/debian.md",
	"0644 /usr/share/doc/wanfail/examples/conntrackd/conntrackd-lan.conf",
	"0644 /usr/share/doc/wanfail/examples/conntrackd/conntrackd-link.conf",
	"0644 /usr/share/doc/wanfail/examples/dnsmasq/lan.conf",
	"0644 /usr/share/doc/wanfail/examples/hooks.d/dyndns",
	"0644 /usr/share/doc/wanfail/examples/hooks.d/notify-mail",
	"0644 /usr/share/doc/wanfail/examples/keepalived/keepalived-check.conf",
	"0644 /usr/share/doc/wanfail/examples/keepalived/keepalived-drill.conf",
	"0644 /usr/share/doc/wanfail/examples/keepalived/keepalived-fast.conf",
	"0644 /usr/share/doc/wanfail/examples/keepalived/keepalived-fifo.conf",
	"0644 /usr/share/doc/wanfail/examples/keepalived/keepalived.conf",
	"0644 /usr/share/doc/wanfail/examples/miniupnpd/default",
	"0644 /usr/share/doc/wanfail/examples/miniupnpd/miniupnpd.conf",
	"0644 /usr/share/doc/wanfail/examples/networkd/20-eth1.network",
	"0644 /usr/share/doc/wanfail/examples/networkd/20-eth2.network",
	"0644 /usr/share/doc/wanfail/examples/networkd/20-eth3.network",
	"0644 /usr/share/doc/wanfail/examples/nftables/iptables.rules",
	"0644 /usr/share/doc/wanfail/examples/nftables/nftables.conf",
	"0644 /usr/share/doc/wanfail/examples/sysctl/50-router.conf",
	"0644 /usr/share/doc/wanfail/sessions.md",
	"0644 /usr/share/doc/wanfail/status.md",
	"0644 /usr/share/doc/wanfail/transitions.md",
	"0644 /usr/share/fish/vendor_completions.d/wanfail.fish",
	"0644 /usr/share/man/man5/wanfail.conf.5.gz",
	"0644 /usr/share/man/man8/wanfail.8.gz",
	"0644 /usr/share/zsh/vendor-completions/_wanfail",
}

// machines are the architectures and what emulates each here.
var machines = []struct{ deb, openwrt, elf, qemu string }{
	{"amd64", "x86_64", "x86-64", ""},
	{"arm64", "aarch64_generic", "ARM aarch64", "qemu-aarch64-static"},
	{"armhf", "", "ARM", "qemu-arm-static"},
	{"", "arm_cortex-a7", "ARM", "qemu-arm-static"},
	{"", "mipsel_24kc", "MIPS", "qemu-mipsel-static"},
	{"", "mips_24kc", "MIPS", "qemu-mips-static"},
}

// dist is where the packages are, built once for all tests.
var dist = sync.OnceValues(func() (string, error) {
	return filepath.Join(scratch, "dist"), build(scratch, "deb", "ipk", "apk")
})

var scratch string // removed by TestMain

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "wanfail-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// build runs targets of packages.mk with all its products below dir.
func build(dir string, targets ...string) error {
	docs := filepath.Join(dir, "docs")
	for _, name := range []string{"man/wanfail.8", "man/wanfail.conf.5", "completions/bash", "completions/zsh", "completions/fish"} {
		path := filepath.Join(docs, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(name+"\n"), 0o644); err != nil {
			return err
		}
	}
	args := []string{
		// A time of its own: a commit between two builds is no difference.
		"-s", "-j2", "-f", "packaging/packages.mk", "VERSION=" + version, "SOURCE_DATE_EPOCH=1795370000",
		"PACKAGES_DIR=" + filepath.Join(dir, "build"),
		"DIST=" + filepath.Join(dir, "dist"), "PACKAGES_DOCS=" + docs,
	}
	cmd := exec.Command("make", append(args, targets...)...)
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %q: %w\n%s", targets, err, out)
	}
	return nil
}

// pkg is a package taken apart.
type pkg struct {
	files    []string          // mode and path, sorted
	dirs     []string          // the same of directories
	control  map[string]string // files of the control archive
	modes    map[string]int64  // of the same
	contents map[string][]byte // of files
}

// add takes in an archive's files, those of a control archive too.
func (p *pkg) add(t *testing.T, r io.Reader, control bool) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		name := strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
		line := fmt.Sprintf("%04o /%s", h.Mode, name)
		switch {
		case control && h.Typeflag == tar.TypeReg:
			p.control[name], p.modes[name] = string(content), h.Mode
		case h.Typeflag == tar.TypeDir:
			p.dirs = append(p.dirs, line)
		case h.Typeflag == tar.TypeReg:
			p.files = append(p.files, line)
			p.contents["/"+name] = content
		default:
			t.Errorf("%s is of type %q", h.Name, h.Typeflag)
		}
	}
	slices.Sort(p.files)
}

func newPkg() *pkg {
	return &pkg{control: map[string]string{}, modes: map[string]int64{}, contents: map[string][]byte{}}
}

func gunzip(t *testing.T, r io.Reader) io.Reader {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// open takes apart dist/NAME.
func open(t *testing.T, name string) *pkg {
	t.Helper()
	dir, err := dist()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	p := newPkg()
	switch filepath.Ext(name) {
	case ".deb":
		for flag, control := range map[string]bool{"--ctrl-tarfile": true, "--fsys-tarfile": false} {
			out, err := exec.Command("dpkg-deb", flag, path).Output()
			if err != nil {
				t.Fatalf("dpkg-deb %s %s: %v", flag, name, err)
			}
			p.add(t, bytes.NewReader(out), control)
		}
	case ".ipk":
		// A gzipped tar of two gzipped tars and a version.
		outer := newPkg()
		outer.add(t, gunzip(t, strings.NewReader(read(t, path))), false)
		if got := string(outer.contents["/debian-binary"]); got != "2.0\n" {
			t.Errorf("debian-binary is %q", got)
		}
		p.add(t, gunzip(t, bytes.NewReader(outer.contents["/control.tar.gz"])), true)
		p.add(t, gunzip(t, bytes.NewReader(outer.contents["/data.tar.gz"])), false)
	case ".apk":
		p.addAPK(t, []byte(read(t, path)))
	}
	return p
}

// addAPK takes apart what apk-v2(5) describes: gzip members one after the other,
// each with a piece of tar; the control piece has no end-of-archive blocks, and
// names the checksum of the data member as it is compressed.
func (p *pkg) addAPK(t *testing.T, raw []byte) {
	t.Helper()
	var members [][]byte
	for rest := bytes.NewReader(raw); rest.Len() > 0; {
		start := len(raw) - rest.Len()
		z, err := gzip.NewReader(rest)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		if _, err := io.Copy(io.Discard, z); err != nil {
			t.Fatal(err)
		}
		members = append(members, raw[start:len(raw)-rest.Len()])
	}
	if len(members) != 2 {
		t.Fatalf("%d gzip members, want control and data (the package is not signed)", len(members))
	}
	p.add(t, gunzip(t, bytes.NewReader(members[0])), true)
	p.add(t, gunzip(t, bytes.NewReader(members[1])), false)
	sum := sha256.Sum256(members[1])
	if want := "datahash = " + hex.EncodeToString(sum[:]) + "\n"; !strings.Contains(p.control[".PKGINFO"], want) {
		t.Errorf(".PKGINFO lacks %s", want)
	}
}

// wantFiles compares the files, and checks that no directory is anything but a
// plain one.
func (p *pkg) wantFiles(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(p.files, want) {
		t.Errorf("files\n%s\nwant\n%s", strings.Join(p.files, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Contains(p.dirs, "0755 /etc/wanfail/hooks.d") {
		t.Errorf("no place for user scripts in %q", p.dirs)
	}
	for _, d := range p.dirs {
		if !strings.HasPrefix(d, "0755 ") {
			t.Errorf("directory %s", d)
		}
	}
}

func (p *pkg) wantFields(t *testing.T, file string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !slices.Contains(strings.Split(p.control[file], "\n"), line) {
			t.Errorf("%s lacks %q:\n%s", file, line, p.control[file])
		}
	}
}

func (p *pkg) wantScript(t *testing.T, name, source string) {
	t.Helper()
	if p.control[name] != read(t, packaging(source)) || p.modes[name] != 0o755 {
		t.Errorf("%s (%04o) is not %s", name, p.modes[name], source)
	}
}

func TestDeb(t *testing.T) {
	for _, m := range machines {
		if m.deb == "" {
			continue
		}
		t.Run(m.deb, func(t *testing.T) {
			p := open(t, "wanfail_"+debVersion+"_"+m.deb+".deb")
			want := debFiles
			if _, err := os.Stat(filepath.Join(repo, "CHANGELOG.md")); err != nil {
				want = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return strings.HasSuffix(s, "/changelog.gz") })
			}
			p.wantFiles(t, want...)
			p.wantFields(t, "control", "Package: wanfail", "Version: "+debVersion, "Architecture: "+m.deb, "Recommends: keepalived")
			p.wantFields(t, "conffiles", "/etc/wanfail.conf")
			for _, s := range []string{"postinst", "prerm", "postrm"} {
				p.wantScript(t, s, "debian/"+s)
			}
		})
	}
}

// The manuals name no file that is not on the router.
func TestManualsCiteWhatIsPackaged(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "./hooks/command/docsgen", dir, "1.0")
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docsgen: %v\n%s", err, out)
	}
	cited := 0
	for _, page := range []string{"wanfail.8", "wanfail.conf.5"} {
		text := strings.ReplaceAll(read(t, filepath.Join(dir, "man", page)), `\-`, "-")
		for _, path := range regexp.MustCompile(`[\w/.-]+\.md\b|/usr/share/doc/wanfail/[\w/.-]+\w`).FindAllString(text, -1) {
			cited++
			if !slices.ContainsFunc(debFiles, func(f string) bool { return strings.Contains(f+"/", " "+path+"/") || strings.Contains(f, " "+path+"/") }) {
				t.Errorf("%s cites %s", page, path)
			}
		}
	}
	if cited == 0 {
		t.Error("nothing is cited: this test sees nothing")
	}
}

func TestIPK(t *testing.T) {
	for _, m := range machines {
		if m.openwrt == "" {
			continue
		}
		t.Run(m.openwrt, func(t *testing.T) {
			p := open(t, "wanfail_"+debVersion+"-r1_"+m.openwrt+".ipk")
			p.wantFiles(t, slices.Clone(openwrtFiles)...)
			p.wantFields(t, "control", "Package: wanfail", "Version: "+debVersion+"-r1", "Architecture: "+m.openwrt,
				"Depends: keepalived, kmod-macvlan")
			p.wantFields(t, "conffiles", "/etc/config/wanfail")
			p.wantScript(t, "postinst", "openwrt/nfpm/postinst")
			p.wantScript(t, "prerm", "openwrt/nfpm/prerm")
		})
	}
}

func TestAPK(t *testing.T) {
	for _, m := range machines {
		if m.openwrt == "" {
			continue
		}
		t.Run(m.openwrt, func(t *testing.T) {
			p := open(t, "wanfail-"+apkVersion+"-r1-"+m.openwrt+".apk")
			const lists = "/lib/apk/packages/wanfail."
			p.wantFiles(t, append(slices.Clone(openwrtFiles),
				"0644 "+lists+"list", "0644 "+lists+"conffiles", "0644 "+lists+"conffiles_static")...)
			p.wantFields(t, ".PKGINFO", "pkgname = wanfail", "pkgver = "+apkVersion+"-r1", "arch = "+m.openwrt,
				"depend = keepalived", "depend = kmod-macvlan")
			// Each line is a field: apk has no continuation lines.
			for line := range strings.Lines(p.control[".PKGINFO"]) {
				if !strings.Contains(line, " = ") && strings.TrimSpace(line) != "" {
					t.Errorf(".PKGINFO has a line %q", line)
				}
			}
			p.wantScript(t, ".post-install", "openwrt/nfpm/postinst")
			p.wantScript(t, ".post-upgrade", "openwrt/nfpm/postupgrade")
			p.wantScript(t, ".pre-deinstall", "openwrt/nfpm/prerm")

			// default_postinst enables what it finds in the list.
			var list strings.Builder
			for _, f := range openwrtFiles {
				fmt.Fprintln(&list, strings.Fields(f)[1])
			}
			sum := sha256.Sum256(p.contents["/etc/config/wanfail"])
			for name, want := range map[string]string{
				"list": list.String(), "conffiles": "/etc/config/wanfail\n",
				"conffiles_static": "/etc/config/wanfail " + hex.EncodeToString(sum[:]) + "\n",
			} {
				if got := string(p.contents[lists+name]); got != want {
					t.Errorf("%s%s is %q, want %q", lists, name, got, want)
				}
			}
		})
	}
}

// The program of each package runs on what it says it is for.
func TestBinaries(t *testing.T) {
	for _, m := range machines {
		files := map[string]string{}
		if m.deb != "" {
			files[m.deb] = "wanfail_" + debVersion + "_" + m.deb + ".deb"
		}
		if m.openwrt != "" {
			files[m.openwrt] = "wanfail-" + apkVersion + "-r1-" + m.openwrt + ".apk"
		}
		for arch, file := range files {
			t.Run(arch, func(t *testing.T) {
				program := filepath.Join(t.TempDir(), "wanfail")
				if err := os.WriteFile(program, open(t, file).contents["/usr/sbin/wanfail"], 0o755); err != nil {
					t.Fatal(err)
				}
				run := func(args ...string) (string, int) {
					argv := append([]string{program}, args...)
					if m.qemu != "" {
						argv = append([]string{m.qemu}, argv...)
					}
					cmd := exec.Command(argv[0], argv[1:]...)
					out, err := cmd.CombinedOutput()
					if cmd.ProcessState == nil {
						t.Fatalf("run %q (Debian: qemu-user-static): %v", argv, err)
					}
					return string(out), cmd.ProcessState.ExitCode()
				}
				if out, code := run("--version"); code != 0 || !strings.Contains(out, version) {
					t.Errorf("--version: exit code %d: %s", code, out)
				}
				// Status without a configuration and without a keeper: an answer
				// in words, no crash (Go's own exit code for one is 2, too).
				missing := filepath.Join(t.TempDir(), "none")
				out, code := run("--config", missing, "--run-dir", missing, "status")
				if code < 0 || code > 2 || out == "" || strings.Contains(out, "goroutine ") {
					t.Errorf("status: exit code %d: %s", code, out)
				}
			})
		}
	}
}

// The same commit gives the same bytes, whatever the umask and the times of the
// files that are packed.
func TestReproducible(t *testing.T) {
	first, err := dist()
	if err != nil {
		t.Fatal(err)
	}
	again := t.TempDir()
	if err := build(again, "packages-deb-amd64", "packages-ipk-x86_64", "packages-apk-x86_64"); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Join(again, "dist"))
	if err != nil || len(names) != 3 {
		t.Fatalf("second build made %v, %v", names, err)
	}
	for _, n := range names {
		if read(t, filepath.Join(first, n.Name())) != read(t, filepath.Join(again, "dist", n.Name())) {
			t.Errorf("%s differs between two builds", n.Name())
		}
	}
}
