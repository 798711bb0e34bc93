package keeper

import (
	"runtime/debug"
	"time"
)

// A keeper does nothing most of the time, on routers that have little memory, and
// a transition lasts milliseconds. So the collector stays out of a transition's
// way, as far as a few megabytes of garbage allow; some time after it the memory
// goes back to the kernel, and from then on little garbage is let grow.
const (
	busyGC = 300 // GOGC in percent; of 4 MB at the least
	calmGC = 25
	calm   = 3 * time.Second // after the end of a transition
)

// memory is the collector's timing, for the life of a keeper.
type memory struct {
	before int // what GOGC was
	timer  *time.Timer
}

func (m *memory) start() { m.before = debug.SetGCPercent(calmGC) }

// busy is for the beginning of a transition.
func (m *memory) busy() {
	m.stop()
	debug.SetGCPercent(busyGC)
}

// rest is for its end.
func (m *memory) rest() {
	m.stop()
	m.timer = time.AfterFunc(calm, func() {
		debug.SetGCPercent(calmGC)
		debug.FreeOSMemory()
	})
}

func (m *memory) stop() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

func (m *memory) end() {
	m.stop()
	debug.SetGCPercent(m.before)
}
