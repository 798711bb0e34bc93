package keeper

import (
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
)

// What happened a minute ago was a minute ago, even if somebody has set the clock
// since; and while the clock only drifts it stays the same time of day, so that a
// follower is not told of changes that are none.
func TestWallClock(t *testing.T) {
	at := dhcp.BootTime() - time.Minute
	ago := func(c *wallClock) time.Duration { return time.Since(c.at()(at)) }
	for _, set := range []time.Duration{0, 212 * 24 * time.Hour, -time.Hour, 2 * time.Second} {
		c := &wallClock{}
		c.at()
		c.boot = c.boot.Add(-set) // as before the clock was set
		if got := ago(c); got < time.Minute || got > time.Minute+time.Second/2 {
			t.Errorf("clock set by %v: a minute is %v", set, got)
		}
	}
	c := &wallClock{}
	c.at()
	c.boot = c.boot.Add(-drift / 2)
	first := c.at()(at)
	time.Sleep(time.Millisecond)
	if again := c.at()(at); !again.Equal(first) {
		t.Errorf("%v is %v a moment later", first, again)
	}
}
