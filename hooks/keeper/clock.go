package keeper

import (
	"time"

	"github.com/wanfail/wanfail/dhcp"
)

// wallClock turns boot time into the time of day. The clock may be set at any
// time, by an NTP client a minute after the boot for one; so what has happened is
// kept in boot time, and translated when somebody asks. While the clock only
// drifts, the same moment stays the same time of day.
type wallClock struct{ boot time.Time }

// drift is how far the translation may be from the clock.
const drift = time.Second

// at returns the translation as of now.
func (c *wallClock) at() func(time.Duration) time.Time {
	boot := time.Now().Round(0).Add(-dhcp.BootTime())
	if d := boot.Sub(c.boot); d > drift || d < -drift {
		c.boot = boot
	}
	started := c.boot
	return func(at time.Duration) time.Time { return started.Add(at) }
}
