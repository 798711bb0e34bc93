package command

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/view"
)

// terminal is the terminal that output goes to, or nil.
func terminal(c *cli.Context) *os.File {
	f, ok := c.App.Writer.(*os.File)
	if ok && journal.IsTerminal(f) {
		return f
	}
	return nil
}

// screen is what to write for. Beyond 80 columns lines get harder to read, not
// easier.
func screen(c *cli.Context) view.Screen {
	s := view.Screen{Width: 80, Now: time.Now()}
	if t := terminal(c); t != nil {
		columns, _ := size(t)
		s.Width = min(s.Width, columns)
		// https://no-color.org: any value but the empty one.
		s.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

// size is the terminal's, or that of a VT100 where it is unknown.
func size(t *os.File) (columns, rows int) {
	ws, err := unix.IoctlGetWinsize(int(t.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}
