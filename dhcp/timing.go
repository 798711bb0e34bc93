package dhcp

import (
	"math"
	"math/rand/v2"
	"time"
)

// never is the deadline that does not come.
const never = time.Duration(math.MaxInt64)

const (
	firstBackoff = 4 * time.Second // RFC 2131 4.1
	lastBackoff  = 64 * time.Second
	backoffFuzz  = time.Second

	// requestTries and rebootTries are how often a REQUEST is sent before the
	// client starts over: no answer for about 28 and 12 s. RFC 2131 3.1 leaves the
	// number to the client. The second is short since INIT is the way out when the
	// remembered address is worth nothing.
	requestTries = 3
	rebootTries  = 2

	// collectWindow is how long an answer from another server than that of the last
	// lease waits for one from that server: most servers on a WAN that should not be
	// there are mistakes. Without an earlier lease the first offer is taken at once.
	collectWindow = 300 * time.Millisecond

	// answerWindow is how long the sockets stay open after a RENEW or REBIND. The
	// next attempt has another xid, so nothing later could be used.
	answerWindow = 10 * time.Second

	// unconfirmedRenew is when a lease that INIT-REBOOT got no answer to is
	// renewed, long before its T1: RFC 2131 4.4.5 lets a client do that. An access
	// network that lost its state may pass no traffic until it sees DHCP again. The
	// wait doubles maxUnproven times, while that is sooner than the RFC's own.
	unconfirmedRenew = time.Minute
	maxUnproven      = 4

	// renewStep is the least time between two attempts to renew or rebind
	// (RFC 2131 4.4.5), for leases of 16 minutes and longer. Shorter ones would
	// get a single attempt, so there it is a sixteenth of the lease.
	renewStep    = time.Minute
	renewStepMin = 4 * time.Second

	firstNAKDelay = time.Second
	lastNAKDelay  = 30 * time.Minute
	// nakMemory ends a series of NAKs. It is longer than lastNAKDelay, or a server
	// that always refuses would never see the longest delay twice.
	nakMemory = time.Hour

	// flapSpacing is the least time between two exchanges that the link or the
	// consumer started: a flapping link must not become a flood.
	flapSpacing = time.Second

	// confirmEvery is the longest that a lease is used without asking any server on
	// the line whether it still holds: one of weeks, or for ever, would pin a server
	// that should not be there. confirmSpacing is the least time between such a
	// confirmation and the last answer.
	confirmEvery   = 24 * time.Hour
	confirmSpacing = time.Minute

	// recheckSpacing is the least time between two looks at the router's other
	// networks while a lease is held.
	recheckSpacing = time.Second

	// localRetry is the first pause after the kernel refused to send.
	localRetry = time.Second
)

// backoff is the wait after the n-th transmission, n >= 1 (RFC 2131 4.1).
func backoff(n int, dice *rand.Rand) time.Duration {
	base := lastBackoff
	if n < 5 {
		base = firstBackoff << (n - 1)
	}
	return base + between(dice, -backoffFuzz, backoffFuzz)
}

// nakDelay is the wait after the n-th NAK in a row, n >= 1.
func nakDelay(n int) time.Duration {
	if n > 11 { // 2^11 s is more than 30 minutes
		return lastNAKDelay
	}
	return min(firstNAKDelay<<(n-1), lastNAKDelay)
}

// renewWait is the wait for the next attempt to renew or rebind: half of what
// remains until the deadline, but not less than the step.
func renewWait(now, deadline, ttl time.Duration) time.Duration {
	return max((deadline-now)/2, min(renewStep, max(ttl/16, renewStepMin)))
}

// setTimers fills in the T1 and T2 that the server left out or got wrong
// (RFC 2131 4.4.5: 0.5 and 0.875 of the lease) and moves all of them up to 2 %
// earlier, so that clients that once started together drift apart.
func (l *Lease) setTimers(dice *rand.Rand) {
	if l.Infinite() {
		return
	}
	if l.T2 == 0 {
		l.T2 = l.TTL / 8 * 7
		if l.T1 >= l.T2 {
			l.T1 = 0
		}
	}
	if l.T1 == 0 {
		l.T1 = min(l.TTL/2, l.T2/8*7)
	}
	l.T1 -= between(dice, 0, l.T1/50)
	if early := l.T2 - between(dice, 0, l.T2/50); early > l.T1 {
		l.T2 = early
	}
}

// between is a random duration in [from, to].
func between(dice *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(dice.Int64N(int64(to-from)+1))
}
