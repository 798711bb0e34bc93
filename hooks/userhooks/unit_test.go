package userhooks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/intent"
)

// Where systemd runs the scripts, they get the same events, and their output and exit
// codes come back.
func TestOutside(t *testing.T) {
	g := newRig(t)
	g.r.unit = filepath.Join(g.out, "systemd-run")
	for path, text := range map[string]string{
		// As systemd-run does, which gives a unit none of its own environment.
		g.r.unit: `#!/bin/sh
dir=$(dirname "$0")
echo "$@" >"$dir/options"
while [ "$1" != -- ]; do
	case $1 in --setenv=*) echo "${1#--setenv=}" >>"$dir/env" ;; esac
	shift
done
shift
exec env -i "$@"
`,
		filepath.Join(g.dir, "script"): "#!/bin/sh\n[ -z \"$WANFAIL_EVENT\" ] && echo said \"$@\" && exit 3\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g.r.Role(intent.Primary, "keepalived[1] VI_1 MASTER")
	g.r.runAll(t.Context(), func() event { e, _ := g.r.next(); return e }())
	for _, want := range []string{"exit status 3", `said primary`} {
		if !g.log.has(want) {
			t.Errorf("the log lacks %q: %s", want, g.log.String())
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(g.out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, want := range []string{"--wait", "--nice=10", fmt.Sprintf("--property=RuntimeMaxSec=%d", int(limit.Seconds()))} {
		if !strings.Contains(read("options"), want) {
			t.Errorf("systemd-run was told %s, which lacks %s", read("options"), want)
		}
	}
	if !strings.Contains(read("env"), "WANFAIL_BY=keepalived[1] VI_1 MASTER\n") {
		t.Errorf("the script's environment is %s", read("env"))
	}
}
