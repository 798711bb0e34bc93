package keeper

import (
	"context"
	"log/slog"

	"github.com/wanfail/wanfail/dhcp"
)

// client is a running DHCP client.
type client struct {
	*dhcp.Client
	updates chan dhcp.Update
	cancel  context.CancelFunc
	done    chan struct{} // closed when it has ended
}

func startClient(ctx context.Context, config dhcp.Config, log *slog.Logger) (*client, error) {
	c, err := dhcp.New(config, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &client{Client: c, updates: make(chan dhcp.Update), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		if err := c.Run(ctx, x.updates); err != nil && ctx.Err() == nil {
			log.Error("DHCP client ended, another one is started", "error", err)
		}
	}()
	return x, nil
}

// news are its updates.
func (c *client) news() <-chan dhcp.Update {
	if c == nil {
		return nil
	}
	return c.updates
}

// ended is closed when it has ended of its own accord.
func (c *client) ended() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.done
}
