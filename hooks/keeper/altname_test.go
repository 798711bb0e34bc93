package keeper_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
)

// A parent that gets its alternative name later, from udev, is found at once.
func TestParentByAlternativeName(t *testing.T) {
	w := newWorld(t)
	w.keeper(func(o *keeper.Options) { o.Config.WANs[0].Parent = "isp-port" })
	w.say(w.intent(intent.Primary), 100*time.Millisecond)
	time.Sleep(3500 * time.Millisecond) // until the pauses between tries are long
	if out, err := exec.Command("ip", "link", "property", "add", "dev", port, "altname", "isp-port").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.eventually("the WAN", 500*time.Millisecond*slow, func() bool { return len(w.links()) == 1 })
}
