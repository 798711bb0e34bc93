package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Kinds of sessions, told to the server in the first byte.
const (
	kindPush = 'P' // the server talks, the client listens
	kindEcho = 'E' // the client talks, the server answers
)

// LoadOptions of StartLoad.
type LoadOptions struct {
	Sessions int           // half of them pushed by the server, half echoed
	Interval time.Duration // between two packets of a session; default 20 ms
	// Beat is called for each packet that the first session receives; it must be
	// quick. May be nil.
	Beat func(time.Time)
}

// Load is a number of TCP sessions from the client to the internet host.
type Load struct {
	l        *Lab
	o        LoadOptions
	sessions []*session
	listener net.Listener
	wg       sync.WaitGroup
	served   struct {
		sync.Mutex
		conns []net.Conn
	}
}

type session struct {
	push  bool
	began time.Time
	conn  net.Conn

	mu      sync.Mutex
	opened  time.Time
	last    time.Time // data arrived
	gap     time.Duration
	gapFrom time.Time
	err     error
}

// SessionReport is the outcome of one session.
type SessionReport struct {
	Push bool
	// Began is when the client asked for the session, Opened when the handshake was
	// over for it; zero if that never was.
	Began, Opened time.Time
	Gap           time.Duration // the longest time without data since Mark
	GapFrom       time.Time
	Err           error // nil: it lives
}

// LoadReport is the outcome of all sessions.
type LoadReport struct {
	Sessions []SessionReport
	Survived int
	// Min, Median and Max of the surviving sessions' gaps.
	Min, Median, Max time.Duration
}

// Lost counts the lost ones, pushed and echoed.
func (r LoadReport) Lost() (push, echo int) {
	for _, s := range r.Sessions {
		switch {
		case s.Err == nil:
		case s.Push:
			push++
		default:
			echo++
		}
	}
	return push, echo
}

// StartLoad opens the sessions and returns when data flows in each. The lab's
// process is the peer at both ends; its sockets are in the two machines.
func (l *Lab) StartLoad(ctx context.Context, o LoadOptions) (_ *Load, err error) {
	if o.Interval == 0 {
		o.Interval = 20 * time.Millisecond
	}
	ld := &Load{l: l, o: o}
	err = l.Internet.Net(func() (err error) {
		ld.listener, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: InternetAddr.AsSlice()})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	ld.wg.Go(ld.accept)
	defer func() {
		if err != nil {
			ld.Stop()
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	ld.sessions = make([]*session, o.Sessions)
	for i := range o.Sessions {
		g.Go(func() error {
			s := &session{push: i%2 == 0}
			if err := ld.open(gctx, s); err != nil {
				return fmt.Errorf("open session %d: %w", i, err)
			}
			ld.sessions[i] = s
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		ld.sessions = slices.DeleteFunc(ld.sessions, func(s *session) bool { return s == nil })
		return nil, fmt.Errorf("start load: %w", err)
	}
	for i, s := range ld.sessions {
		var beat func(time.Time)
		if i == 0 {
			beat = o.Beat
		}
		ld.run(s, beat)
	}
	return ld, Eventually(ctx, "data in each session", func() (bool, error) {
		for _, s := range ld.sessions {
			s.mu.Lock()
			flows, err := !s.last.IsZero(), s.err
			s.mu.Unlock()
			if err != nil || !flows {
				return false, err
			}
		}
		return true, nil
	})
}

// open makes the connection of a session.
func (ld *Load) open(ctx context.Context, s *session) error {
	to := ld.listener.Addr().String()
	s.began = time.Now()
	// A literal address is dialled on the calling thread, which is in the client's
	// namespace.
	err := ld.l.Client.Net(func() (err error) {
		var d net.Dialer
		s.conn, err = d.DialContext(ctx, "tcp4", to)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err == nil {
		s.opened = time.Now()
	}
	return err
}

// run lets data flow in a session that is open.
func (ld *Load) run(s *session, beat func(time.Time)) {
	ld.wg.Go(func() { ld.talk(s) })
	ld.wg.Go(func() { s.listen(beat) })
}

// talk is what the client sends.
func (ld *Load) talk(s *session) {
	kind := byte(kindEcho)
	if s.push {
		kind = kindPush
	}
	if _, err := s.conn.Write([]byte{kind}); err != nil {
		s.fail(err)
		return
	}
	if !s.push {
		s.fail(beatInto(s.conn, ld.o.Interval))
	}
}

// beatInto writes eight bytes each interval until that fails.
func beatInto(w io.Writer, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if _, err := w.Write([]byte("wanfail\n")); err != nil {
			return err
		}
		<-tick.C
	}
}

func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// listen notes when the client receives data.
func (s *session) listen(beat func(time.Time)) {
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		now := time.Now()
		if n > 0 {
			s.mu.Lock()
			if gap := now.Sub(s.last); !s.last.IsZero() && gap > s.gap {
				s.gap, s.gapFrom = gap, s.last
			}
			s.last = now
			s.mu.Unlock()
			if beat != nil {
				beat(now)
			}
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// accept is the server.
func (ld *Load) accept() {
	for {
		c, err := ld.listener.Accept()
		if err != nil {
			return
		}
		ld.served.Lock()
		ld.served.conns = append(ld.served.conns, c)
		ld.served.Unlock()
		ld.wg.Go(func() {
			defer c.Close()
			var kind [1]byte
			if _, err := io.ReadFull(c, kind[:]); err != nil {
				return
			}
			if kind[0] == kindPush {
				_ = beatInto(c, ld.o.Interval)
				return
			}
			_, _ = io.Copy(c, c)
		})
	}
}

// Mark begins the time that gaps are looked for in, and returns its beginning.
func (ld *Load) Mark() time.Time {
	now := time.Now()
	for _, s := range ld.sessions {
		s.mu.Lock()
		s.gap = 0
		s.mu.Unlock()
	}
	return now
}

// errStalled is the outcome of a session without data and without an error.
var errStalled = errors.New("stalled")

// Settle waits until each session is lost or has received data lately, and
// later than after; where ctx ends first, those without are lost.
func (ld *Load) Settle(ctx context.Context, after time.Time) LoadReport {
	alive := func(s *session) bool {
		return s.last.After(after) && time.Since(s.last) < 10*ld.o.Interval
	}
	_ = Eventually(ctx, "sessions", func() (bool, error) {
		for _, s := range ld.sessions {
			s.mu.Lock()
			settled := s.err != nil || alive(s)
			s.mu.Unlock()
			if !settled {
				return false, nil
			}
		}
		return true, nil
	})
	var r LoadReport
	var gaps []time.Duration
	for _, s := range ld.sessions {
		s.mu.Lock()
		sr := SessionReport{Push: s.push, Began: s.began, Opened: s.opened, Gap: s.gap, GapFrom: s.gapFrom, Err: s.err}
		if sr.Err == nil && !alive(s) {
			sr.Err = errStalled
		}
		s.mu.Unlock()
		if sr.Err == nil {
			r.Survived++
			gaps = append(gaps, sr.Gap)
		}
		r.Sessions = append(r.Sessions, sr)
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		r.Min, r.Median, r.Max = gaps[0], gaps[len(gaps)/2], gaps[len(gaps)-1]
	}
	return r
}

// Stop ends all sessions.
func (ld *Load) Stop() {
	_ = ld.listener.Close()
	ld.served.Lock()
	for _, c := range ld.served.conns {
		_ = c.Close()
	}
	ld.served.Unlock()
	for _, s := range ld.sessions {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
	ld.wg.Wait()
}
