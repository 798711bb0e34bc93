package keeper_test

import (
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
)

// A hook whose configuration cannot be read does not know which link an intent is
// about. A keeper that lives does: what it holds for another instance stays. Without
// one everything that this run directory made is silenced.
func TestSilenceWithoutAConfiguration(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper(func(o *keeper.Options) { o.Config.WANs[0].Instance = "VI_1" })
	first := w.intent(intent.Primary)
	first.Scope = "VI_1"
	w.say(first, 10*time.Second)
	o := w.options()
	o.Config = config.Config{}
	second := w.intent(intent.Backup)
	second.Scope = "VI_2"
	muted := func() bool {
		seen, err := w.network.Observe(t.Context(), w.link())
		if err != nil || !seen.Exists {
			t.Fatalf("%+v, %v", seen, err)
		}
		return seen.Muted
	}
	if err := keeper.Silence(t.Context(), o, second); err != nil {
		t.Error(err)
	}
	if muted() {
		t.Error("the WAN of another instance was muted, which is primary")
	}
	stop()
	if err := keeper.Silence(t.Context(), o, second); err != nil {
		t.Error(err)
	}
	if !muted() {
		t.Error("without a keeper the link was not muted")
	}
}
