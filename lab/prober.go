package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// probePort is where the internet host echoes.
const probePort = 7001

// probeInterval is the resolution of an outage.
const probeInterval = 5 * time.Millisecond

// Prober sends a UDP packet each 5 ms from the client to the internet host,
// which echoes it: what is not answered tells how long the path was broken, with
// no retransmission timer in between.
type Prober struct {
	client, server *net.UDPConn
	stop           context.CancelFunc
	wg             sync.WaitGroup

	mu     sync.Mutex
	probes []probe
}

type probe struct {
	sent     time.Time
	answered bool
}

// Outage is the longest time without an answered probe: from the last one before
// it to the first one after it.
type Outage struct {
	From, To time.Time
	// Lost is how many probes in a row were not answered.
	Lost int
	// Open: no probe was answered since.
	Open bool
}

// Duration of the outage.
func (o Outage) Duration() time.Duration { return o.To.Sub(o.From) }

// StartProber returns when the first probe is answered.
func (l *Lab) StartProber(ctx context.Context) (_ *Prober, err error) {
	p := &Prober{}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	err = l.Internet.Net(func() (err error) {
		p.server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: InternetAddr.AsSlice(), Port: probePort})
		return err
	})
	if err == nil {
		err = l.Client.Net(func() (err error) {
			p.client, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: InternetAddr.AsSlice(), Port: probePort})
			return err
		})
	}
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("start prober: %w", err)
	}
	p.wg.Go(p.echo)
	p.wg.Go(p.receive)
	p.wg.Go(func() { p.send(run) })
	err = Eventually(ctx, "answered probe", func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.probes) > 0 && p.probes[max(0, len(p.probes)-2)].answered, nil
	})
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Prober) echo() {
	buf := make([]byte, 64)
	for {
		n, from, err := p.server.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = p.server.WriteToUDPAddrPort(buf[:n], from)
		}
	}
}

func (p *Prober) send(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var buf [8]byte
	for n := uint64(0); ctx.Err() == nil; n++ {
		binary.BigEndian.PutUint64(buf[:], n)
		p.mu.Lock()
		p.probes = append(p.probes, probe{sent: time.Now()})
		p.mu.Unlock()
		// An ICMP error of a probe before is reported here: a lost probe is what
		// it is about, so carry on.
		_, _ = p.client.Write(buf[:])
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (p *Prober) receive() {
	buf := make([]byte, 64)
	for {
		n, err := p.client.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		i := binary.BigEndian.Uint64(buf)
		p.mu.Lock()
		if i < uint64(len(p.probes)) {
			p.probes[i].answered = true
		}
		p.mu.Unlock()
	}
}

// Outage finds the longest one since after.
func (p *Prober) Outage(after time.Time) Outage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return longestOutage(p.probes, after)
}

// longestOutage looks at the probes sent since after. The last few may still be
// on their way and do not count as lost, unless they are many.
func longestOutage(probes []probe, after time.Time) Outage {
	var worst Outage
	from, lost := after, 0
	for _, pr := range probes {
		if pr.sent.Before(after) {
			continue
		}
		if !pr.answered {
			lost++
			continue
		}
		if lost > 0 && pr.sent.Sub(from) > worst.Duration() {
			worst = Outage{From: from, To: pr.sent, Lost: lost}
		}
		from, lost = pr.sent, 0
	}
	if last := len(probes) - 1; last >= 0 && lost > 4 && probes[last].sent.Sub(from) > worst.Duration() {
		worst = Outage{From: from, To: probes[last].sent, Lost: lost, Open: true}
	}
	return worst
}

// Settle waits until probes are answered again and have been for a while.
func (p *Prober) Settle(ctx context.Context) error {
	return Eventually(ctx, "answered probes", func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := len(p.probes)
		if n < 44 {
			return false, nil
		}
		for _, pr := range p.probes[n-44 : n-4] {
			if !pr.answered {
				return false, nil
			}
		}
		return true, nil
	})
}

// Stop ends the probing.
func (p *Prober) Stop() {
	p.stop()
	for _, c := range []*net.UDPConn{p.client, p.server} {
		if c != nil {
			_ = c.Close()
		}
	}
	p.wg.Wait()
}
