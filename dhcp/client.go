package dhcp

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// clock is boot time and a timer on it.
type clock interface {
	now() time.Duration
	newAlarm() (alarm, error)
}

// alarm rings at a boot time. A ring may be early or stale: the machine knows
// what is due.
type alarm interface {
	C() <-chan struct{}
	set(at time.Duration) error // never disarms it
	close()
}

// transport opens the sockets of one exchange.
type transport interface {
	// open returns once packets are being captured. wanted is called for each and
	// must be quick; those that it wants are delivered until close.
	open(wanted func([]byte) bool, deliver chan<- datagram) (conn, error)
}

// conn sends the requests of an exchange.
type conn interface {
	// broadcast sends from 0.0.0.0, without an address.
	broadcast(payload []byte) error
	// routed sends from the leased address through the kernel's IP stack.
	routed(from, to netip.Addr, payload []byte) error
	// close ends the delivery. It returns at once.
	close()
}

// datagram is a received DHCP message, or the error that ended reception.
type datagram struct {
	from    conn
	payload []byte
	err     error
}

// Client runs the protocol on one interface. Its methods are safe for concurrent
// use.
type Client struct {
	cfg       Config
	log       *slog.Logger
	clock     clock
	transport transport
	dice      *rand.Rand

	running atomic.Bool
	changed chan struct{} // capacity 1: something below has changed

	mu    sync.Mutex
	up    bool
	downs int // so that a flap is not missed between two looks
	doubt bool
}

// ErrRunning is returned by Run while another Run of the same Client goes on.
var ErrRunning = errors.New("dhcp client is already running")

// New checks the configuration and makes a client. It touches neither the
// network nor the lease file.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dhcp client on %q: %w", cfg.Interface, err)
	}
	cfg.MAC, cfg.ClientID = slices.Clone(cfg.MAC), slices.Clone(cfg.ClientID)
	cfg.Request, cfg.Send = slices.Clone(cfg.Request), slices.Clone(cfg.Send)
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand)
	return &Client{
		cfg:       cfg,
		log:       log.With("interface", cfg.Interface),
		clock:     bootClock{},
		transport: &sockets{iface: cfg.Interface, mac: cfg.MAC, priority: cfg.Priority},
		dice:      rand.New(rand.NewChaCha8(seed)),
		changed:   make(chan struct{}, 1),
		up:        true,
	}, nil
}

// Carrier tells the client whether the link can carry packets. Without it
// nothing is sent and the lease runs on; its return starts one INIT-REBOOT. A
// client for which it was never called assumes that the link is up. To call it with
// the same value again has no effect.
func (c *Client) Carrier(up bool) {
	c.mu.Lock()
	if c.up && !up {
		c.downs++
	}
	c.up = up
	c.mu.Unlock()
	c.wake()
}

// Confirm asks all servers on the line whether the lease still holds, as after a
// return of the carrier: for a consumer that has reason to doubt, such as a gateway
// that no longer answers. The lease stays in use meanwhile. It does nothing unless
// the client is BOUND.
func (c *Client) Confirm() {
	c.mu.Lock()
	c.doubt = true
	c.mu.Unlock()
	c.wake()
}

func (c *Client) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Run acquires a lease and keeps it until ctx ends, then returns nil at
// once: it sends no RELEASE, and no packet leaves after it has returned. Every
// change of state, lease or diagnosis is sent to updates, which is not closed; if
// the consumer is slow, old ones are dropped in favour of new ones. With a valid
// remembered lease the first Update carries it, and nothing is sent before it
// has been taken.
//
// Trouble with the network, the interface or the lease file is logged and
// retried. An error means that the client could not start.
func (c *Client) Run(ctx context.Context, updates chan<- Update) error {
	if !c.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer c.running.Store(false)
	alarm, err := c.clock.newAlarm()
	if err != nil {
		return err
	}
	defer alarm.close()
	l := &loop{
		Client: c, ctx: ctx, updates: updates, alarm: alarm,
		machine: newMachine(&c.cfg, c.dice),
		packets: make(chan datagram),
		faults:  map[string]bool{},
		again:   never,
	}
	defer l.hangUp()
	l.run()
	return nil
}
