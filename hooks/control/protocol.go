package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// Requests that a keeper understands. A connection to its socket carries one
// request and its answers, each one line of JSON.
const (
	OpSettle   = "settle"   // take Intent, answer once it is reached, superseded or Wait has passed
	OpStatus   = "status"   // answer with a Report
	OpWatch    = "watch"    // answer with a Report now and after each change, until the connection ends
	OpAnnounce = "announce" // announce the addresses that Intent covers again; it is no role request
	OpRelease  = "release"  // primary only: as OpSettle with a backup intent, giving the lease back first; the keeper records it
)

// Request is what a hook sends.
type Request struct {
	Op     string         `json:"op"`
	Intent *intent.Intent `json:"intent,omitempty"`
	Wait   time.Duration  `json:"wait_ns,omitempty"`
	// Unrecorded asks the keeper to record the intent, which the hook could not.
	Unrecorded bool `json:"unrecorded,omitempty"`
}

// Outcome is how a role request ended.
type Outcome string

const (
	Reached    Outcome = "reached"    // all of it
	Degraded   Outcome = "degraded"   // the role is reached, Problems name what is not
	Superseded Outcome = "superseded" // a newer role request replaced it
)

// Answer is the keeper's answer to OpSettle and OpRelease.
type Answer struct {
	Outcome  Outcome       `json:"outcome,omitempty"`
	Role     intent.Role   `json:"role"`
	By       string        `json:"by,omitempty"` // with Superseded: who asked later
	Already  bool          `json:"already,omitempty"`
	Took     time.Duration `json:"took_ns,omitempty"`
	Phases   []Phase       `json:"phases,omitempty"`
	Problems []string      `json:"problems,omitempty"`
	Error    string        `json:"error,omitempty"` // the request could not be taken
}

// Degrade adds a problem.
func (a *Answer) Degrade(problem error) {
	a.Problems = append(a.Problems, problem.Error())
	if a.Outcome == Reached {
		a.Outcome = Degraded
	}
}

// Refusal is why the request could not be taken, nil if it was.
func (a Answer) Refusal() error {
	if a.Error != "" {
		return fmt.Errorf("keeper refuses: %s", a.Error)
	}
	return nil
}

// ErrNoKeeper tells that no keeper listens in the run directory.
var ErrNoKeeper = errors.New("no keeper is running")

// GarbageError is an answer that is no valid answer of a keeper.
type GarbageError struct {
	Line []byte
	Err  error
}

func (e *GarbageError) Error() string {
	return fmt.Sprintf("keeper answers garbage (%.60q: %v); is another program, or another version, listening on its socket?", e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *GarbageError) Unwrap() error { return e.Err }

// maxAnswer bounds one line of an answer.
const maxAnswer = 1 << 20

// Conn is a connection to the keeper.
type Conn struct {
	c net.Conn
	r *bufio.Reader
}

// Dial connects to the keeper of a run directory; ErrNoKeeper if there is none.
func Dial(ctx context.Context, dir rundir.Dir) (*Conn, error) {
	c, err := dir.Dial(ctx)
	if errors.Is(err, rundir.ErrNobodyListens) {
		return nil, ErrNoKeeper
	}
	if err != nil {
		return nil, fmt.Errorf("reach keeper: %w", err)
	}
	return &Conn{c: c, r: bufio.NewReader(c)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.c.Close() }

// RefusedError is the answer of a keeper that does not accept a request.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "keeper refuses: " + e.Reason }

// Ask sends r and reads one answer into answer, a pointer to an Answer or a
// Report. It returns when ctx ends. A keeper that refuses to report is a
// RefusedError; an Answer has a field for the reason.
func (c *Conn) Ask(ctx context.Context, r Request, answer any) error {
	sent := c.send(r)
	err := c.Next(ctx, answer)
	if refused := (*RefusedError)(nil); sent != nil && err != nil && !errors.As(err, &refused) {
		return sent
	}
	return err // a refusal may be there before the request could be sent
}

func (c *Conn) send(r Request) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := c.c.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("ask keeper: %w", err)
	}
	return nil
}

// Next reads one more answer.
func (c *Conn) Next(ctx context.Context, answer any) error {
	stop := context.AfterFunc(ctx, func() { _ = c.c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := readLine(c.r)
	if ctx.Err() != nil {
		return fmt.Errorf("wait for keeper: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("read keeper's answer: %w", err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return &GarbageError{Line: line, Err: err}
	}
	if _, ok := answer.(*Answer); !ok {
		var a struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(line, &a) == nil && a.Error != "" {
			return &RefusedError{a.Error}
		}
	}
	return nil
}

// readLine reads a line of at most maxAnswer bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case len(line) > maxAnswer:
			return nil, &GarbageError{Line: line, Err: errors.New("line is too long")}
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
