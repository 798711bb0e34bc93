package keeper

import (
	"runtime/debug"
	"time"
)

// A keeper is idle most of the time, on routers that have little memory, and a
// transition lasts milliseconds. So the garbage collector does not run during a
// transition, as far as a few megabytes of garbage allow; some time after it the
// memory is returned to the kernel, and from then on GOGC is low.
const (
	busyGC    = 300 // GOGC in percent; of 4 MB at the least
	idleGC    = 25
	idleAfter = 3 * time.Second // the end of a transition
)

// gcTuner sets the garbage collector's target while a keeper runs.
type gcTuner struct {
	before int // what GOGC was
	timer  *time.Timer
}

func (g *gcTuner) start() { g.before = debug.SetGCPercent(idleGC) }

// busy is for the beginning of a transition.
func (g *gcTuner) busy() {
	g.stop()
	debug.SetGCPercent(busyGC)
}

// idle is for its end.
func (g *gcTuner) idle() {
	g.stop()
	g.timer = time.AfterFunc(idleAfter, func() {
		debug.SetGCPercent(idleGC)
		debug.FreeOSMemory()
	})
}

func (g *gcTuner) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *gcTuner) end() {
	g.stop()
	debug.SetGCPercent(g.before)
}
