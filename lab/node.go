package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Node is a machine of the lab.
type Node struct {
	Name  string
	spec  sandbox.Spec
	disk  *sandbox.Disk
	jacks []jack
	bare  bool          // interfaces are down and without addresses
	loose map[Port]bool // without a cable at the next boot
	// Applied at each boot, after the jacks are plugged in.
	setup  func(*netlink.Handle) error // may be nil
	sysctl map[string]string           // below /proc/sys

	mu sync.Mutex
	m  *sandbox.Machine // nil while off
}

func newNode(spec sandbox.Spec, jacks ...jack) (*Node, error) {
	disk, err := sandbox.NewDisk(spec.Name)
	if err != nil {
		return nil, err
	}
	return &Node{Name: spec.Name, spec: spec, disk: disk, jacks: jacks}, nil
}

// boot switches the machine on.
func (n *Node) boot() error {
	m, err := sandbox.Boot(n.disk, n.spec, func(m *sandbox.Machine) error {
		for _, j := range n.jacks {
			if err := plug(m, n.Name, j, !n.loose[portOf(j.sw, n.Name)], n.bare); err != nil {
				return err
			}
		}
		if n.setup != nil {
			if err := withHandle(m.NetNS(), n.setup); err != nil {
				return err
			}
		}
		// /proc/sys/net shows the namespace of the thread that looks.
		return m.Net(func() error {
			for name, value := range n.sysctl {
				if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.m = m
	return nil
}

// ports of the switches that the machine is plugged into.
func (n *Node) ports() []Port {
	ports := make([]Port, 0, len(n.jacks))
	for _, j := range n.jacks {
		ports = append(ports, portOf(j.sw, n.Name))
	}
	return ports
}

// machine is the one that is on.
func (n *Node) machine() (*sandbox.Machine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		return nil, fmt.Errorf("%s: %w", n.Name, sandbox.ErrOff)
	}
	return n.m, nil
}

// On tells whether the machine is switched on.
func (n *Node) On() bool {
	_, err := n.machine()
	return err == nil
}

// powerOff ends the machine between two instructions: no process of it gets to
// see that something is wrong, and what its kernel still does reaches no other host.
func (n *Node) powerOff(l *Lab) error {
	n.mu.Lock()
	m := n.m
	n.m = nil
	n.mu.Unlock()
	if m == nil {
		return nil
	}
	m.Halt()
	err := l.Cut(n.ports()...)
	m.Kill()
	// The kernel takes the namespace apart in its own time; the interfaces must
	// be gone before the machine can boot again.
	return errors.Join(err, unplug(n.ports()))
}

// ExitError is the failure of a command, with what it printed.
type ExitError struct {
	Node, Command, Output string
	Err                   error
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: %s: %v: %s", e.Node, e.Command, e.Err, strings.TrimSpace(e.Output))
}

func (e *ExitError) Unwrap() error { return e.Err }

// Run runs a command to its end and returns what it printed, on both channels.
func (n *Node) Run(ctx context.Context, name string, arg ...string) (string, error) {
	p, err := n.Start(ctx, name, arg...)
	if err != nil {
		return "", err
	}
	err = p.Wait()
	out := p.Output()
	if err != nil {
		return out, &ExitError{Node: n.Name, Command: strings.Join(append([]string{name}, arg...), " "), Output: out, Err: err}
	}
	return out, nil
}

// Process is a command in the background. It ends with its context or with the
// machine.
type Process struct {
	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan struct{}
	err  error
	// Started is taken right before the process is made.
	Started time.Time
}

// Start starts a command.
func (n *Node) Start(ctx context.Context, name string, arg ...string) (*Process, error) {
	m, err := n.machine()
	if err != nil {
		return nil, err
	}
	p := &Process{out: &lockedBuffer{}, done: make(chan struct{}), Started: time.Now()}
	p.cmd, err = m.Start(func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, name, arg...)
		cmd.Stdout, cmd.Stderr = p.out, p.out
		return cmd
	})
	if err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", n.Name, name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		// A daemon that the command left behind holds on to our pipe.
		if errors.Is(p.err, exec.ErrWaitDelay) {
			p.err = nil
		}
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end with SIGTERM, and after limit kills it with its
// children.
func (p *Process) Stop(limit time.Duration) {
	_ = p.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		<-p.done
	}
}

// Pid of the process, as seen by the lab.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is what the process has printed so far.
func (p *Process) Output() string { return p.out.String() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// WriteFile writes a file of the machine, on or off, making its folders.
func (n *Node) WriteFile(path, content string, mode os.FileMode) error {
	m, err := n.machine()
	if err != nil {
		return n.disk.WriteFile(path, []byte(content), mode)
	}
	at := m.Path(path)
	if err := os.MkdirAll(at[:strings.LastIndexByte(at, '/')], 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, []byte(content), mode)
}

// ReadFile reads a file of a machine that is on.
func (n *Node) ReadFile(path string) (string, error) {
	m, err := n.machine()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(m.Path(path))
	return string(b), err
}

// Net runs f in the machine's network namespace: the sockets that it opens
// itself, not in further goroutines, belong to the machine.
func (n *Node) Net(f func() error) error {
	m, err := n.machine()
	if err != nil {
		return err
	}
	return m.Net(f)
}

// Netlink runs f with a netlink handle of the machine.
func (n *Node) Netlink(f func(*netlink.Handle) error) error {
	m, err := n.machine()
	if err != nil {
		return err
	}
	return withHandle(m.NetNS(), f)
}

// Eventually waits until cond holds. It asks each 5 ms: cond may be about
// anything in the lab, for which there is no common event. An error of cond is
// final; at the end of ctx what is named in the error.
func Eventually(ctx context.Context, what string, cond func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := cond()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
