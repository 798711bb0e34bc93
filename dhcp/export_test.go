package dhcp

import "sync/atomic"

// CountReceived counts the packets that a client which does not run yet will take
// for answers.
func CountReceived(c *Client) *atomic.Int64 {
	n := new(atomic.Int64)
	c.transport = countingTransport{c.transport, n}
	return n
}

type countingTransport struct {
	transport
	n *atomic.Int64
}

func (t countingTransport) open(wanted func([]byte) bool, deliver chan<- datagram) (conn, error) {
	return t.transport.open(func(b []byte) bool {
		w := wanted(b)
		if w {
			t.n.Add(1)
		}
		return w
	}, deliver)
}
