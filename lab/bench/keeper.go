package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// keeperPID is that of the service, in the router's own count.
func keeperPID(ctx context.Context, r *lab.Router) (string, error) {
	out, err := r.Run(ctx, "systemctl", "show", "--property=MainPID", "--value", "wanfail")
	pid := strings.TrimSpace(out)
	if err == nil && (pid == "" || pid == "0") {
		err = fmt.Errorf("%s: no keeper is running", r.Name)
	}
	return pid, err
}

// keeperCPU is the time that the keeper has had of a CPU, to the nanosecond: the
// ticks of /proc/PID/stat are too coarse for an idle process.
func keeperCPU(ctx context.Context, r *lab.Router) (time.Duration, error) {
	pid, err := keeperPID(ctx, r)
	if err != nil {
		return 0, err
	}
	// Of each thread: the file of the process is about its first one only.
	out, err := r.Run(ctx, "sh", "-c", "cat /proc/"+pid+"/task/*/schedstat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read schedstat: %w", err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// keeperIdle is the CPU time that the keeper takes in a minute, by what it takes
// in a while.
func keeperIdle(ctx context.Context, r *lab.Router, while time.Duration) (time.Duration, error) {
	before, err := keeperCPU(ctx, r)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := sleep(ctx, while); err != nil {
		return 0, err
	}
	after, err := keeperCPU(ctx, r)
	took := time.Since(start)
	return time.Duration(float64(after-before) * float64(time.Minute) / float64(took)), err
}

// keeperMemory is resident: all of it, and what is not a page of the program's
// file, in kB.
func keeperMemory(ctx context.Context, r *lab.Router) (rss, anonymous int, err error) {
	pid, err := keeperPID(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	status, err := r.Run(ctx, "cat", "/proc/"+pid+"/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(status) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "VmRSS":
			_, err = fmt.Sscan(value, &rss)
		case "RssAnon":
			_, err = fmt.Sscan(value, &anonymous)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return rss, anonymous, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
