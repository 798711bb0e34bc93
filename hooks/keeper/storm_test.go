package keeper_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// How long the storm lasts, and which one it is, can be set.
const (
	envStormSeed  = "WANFAIL_STORM_SEED"
	envStormHooks = "WANFAIL_STORM_HOOKS" // in all; 50 a storm
)

// thrown is a hook of a storm.
type thrown struct {
	cmd    *exec.Cmd
	role   intent.Role
	token  intent.Token
	killed bool
}

// Real hooks at once and by the hundreds, shuffled, some of them killed, and
// keepers killed again and again: after each storm the router is what the newest
// hook wanted that lived to record it, and kernel and services agree.
func TestStorm(t *testing.T) {
	seed, total := uint64(time.Now().UnixNano()), 1000
	if s := os.Getenv(envStormSeed); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	if s := os.Getenv(envStormHooks); s != "" {
		total, _ = strconv.Atoi(s)
	}
	t.Logf("%s=%d", envStormSeed, seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, false)
	playKeepalived(t)
	const each = 50
	var superseded, dead, keepersKilled int
	for storm := range total / each {
		end := r.supervise(dice.Uint64(), storm%2 == 0, &keepersKilled)
		all := r.throw(dice, each)
		end()
		newest := r.newest(t, all, &superseded, &dead)
		if t.Failed() {
			t.Fatalf("in storm %d", storm)
		}
		// What a supervisor does. Where a hook has started one, it stays.
		go func(c *exec.Cmd) { _ = c.Run() }(r.command(nil, "keeper"))
		r.eventually(fmt.Sprintf("storm %d: %s, as %v wanted", storm, newest.role, newest.token), 20*time.Second,
			func() bool { return r.settled(newest.role) })
	}
	t.Logf("%d hooks: %d superseded, %d killed; %d keepers killed", total/each*each, superseded, dead, keepersKilled)
	if superseded == 0 || dead == 0 || keepersKilled == 0 {
		t.Error("that was no storm")
	}
}

// playKeepalived gives this process keepalived's name, by which its children know
// who has started them: their order is that of their start.
func playKeepalived(t *testing.T) {
	t.Helper()
	const file = "/proc/self/comm"
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("keepalived"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, was, 0) })
}

// supervise kills keepers at random until end is called, and restarts them if
// restart is set; else that is left to the hooks.
func (r *rig) supervise(seed uint64, restart bool, killed *int) (end func()) {
	stop := make(chan struct{})
	var tasks sync.WaitGroup
	dice := rand.New(rand.NewPCG(seed, 1))
	tasks.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(20+dice.IntN(120)) * time.Millisecond):
			}
			for _, pid := range r.keepers() {
				if unix.Kill(pid, unix.SIGKILL) == nil {
					*killed++
				}
			}
			if restart {
				go func(c *exec.Cmd) { _ = c.Run() }(r.command(nil, "keeper"))
			}
		}
	})
	return func() {
		close(stop)
		tasks.Wait()
	}
}

// throw starts n hooks, in several at once, and waits for their ends.
func (r *rig) throw(dice *rand.Rand, n int) (all []*thrown) {
	var mu sync.Mutex
	var throwers sync.WaitGroup
	const hands = 5
	for range hands {
		own := rand.New(rand.NewPCG(dice.Uint64(), 2))
		throwers.Go(func() {
			for range n / hands {
				h := r.throwOne(own)
				mu.Lock()
				all = append(all, h)
				mu.Unlock()
				time.Sleep(time.Duration(own.IntN(4)) * time.Millisecond)
			}
		})
	}
	throwers.Wait()
	var cmds []*exec.Cmd
	for _, h := range all {
		cmds = append(cmds, h.cmd)
	}
	waitAll(cmds)
	return all
}

func (r *rig) throwOne(dice *rand.Rand) *thrown {
	h := &thrown{role: intent.Role(dice.IntN(2)), killed: dice.IntN(5) == 0}
	arg := [][]string{
		{"backup", "--wait", "3s"},
		{"notify", "--wait", "3s", "INSTANCE", "VI_1", "FAULT", "100"},
		{"stop"},
		{"primary", "--wait", "3s"},
		{"notify", "--wait", "3s", "GROUP", "VG", "MASTER", "100"},
		{"master"},
	}[3*int(h.role)+dice.IntN(3)]
	h.cmd = r.command(nil, arg...)
	if err := h.cmd.Start(); err != nil {
		r.t.Error(err)
		return h
	}
	h.token = tokenOf(r.t, h.cmd.Process.Pid)
	if h.killed {
		after := time.Duration(dice.IntN(30)) * time.Millisecond
		time.AfterFunc(after, func() { _ = h.cmd.Process.Kill() })
	}
	return h
}

// tokenOf reads what a process takes for its token, but for Seq. It has not been
// waited for, so it is there even if it has ended.
func tokenOf(t *testing.T, pid int) intent.Token {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Error(err)
		return intent.Token{}
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		t.Error(err)
	}
	return intent.Token{Ticks: start, PID: pid}
}

// newest finds the hook whose request must count: the newest of those that were not
// killed, unless a newer one was killed only after it had recorded its own.
func (r *rig) newest(t *testing.T, all []*thrown, superseded, dead *int) *thrown {
	t.Helper()
	store, err := intent.OpenStore(rundir.At(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	is, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	recorded, _ := is.For("")
	recorded.Token.Seq = 0
	var newest, stands *thrown
	for _, h := range all {
		state := h.cmd.ProcessState
		switch {
		case !state.Exited():
			*dead++
		case state.ExitCode() == 0 && h.token != recorded.Token:
			*superseded++
		}
		if state.Exited() && (newest == nil || h.token.Compare(newest.token) > 0) {
			newest = h
		}
		if h.token == recorded.Token {
			stands = h
		}
	}
	switch {
	case stands == nil:
		t.Errorf("on record is %v, which no hook of this storm has said", recorded)
	case stands.token.Compare(newest.token) < 0:
		t.Errorf("on record is %v, but %v is newer and was not killed", stands.token, newest.token)
	case stands.role != recorded.Role:
		t.Errorf("on record is %s, but %v said %s", recorded.Role, stands.token, stands.role)
	}
	return stands
}
