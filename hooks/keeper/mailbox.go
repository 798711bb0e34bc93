package keeper

import "sync"

// signal wakes one goroutine. Raised several times before that goroutine receives,
// it wakes it once.
type signal chan struct{}

func newSignal() signal { return make(chan struct{}, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// latest passes values of which only the newest counts. To put one in never blocks.
type latest[T any] struct {
	mu sync.Mutex
	c  chan T
}

func newLatest[T any]() *latest[T] { return &latest[T]{c: make(chan T, 1)} }

func (l *latest[T]) put(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.c:
	default:
	}
	l.c <- v
}

// queue passes any number of values in order. To put one in never blocks: not a task
// while the reader is busy, not the reader itself, and not a late task when the
// reader has ended.
type queue[T any] struct {
	wake signal // while there is something
	// merge, if not nil, adds a value to those that wait: it may leave out what the
	// newer one makes needless.
	merge func(waiting []T, v T) []T

	mu      sync.Mutex
	waiting []T
}

func newQueue[T any](merge func([]T, T) []T) *queue[T] {
	return &queue[T]{wake: newSignal(), merge: merge}
}

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	if q.merge != nil {
		q.waiting = q.merge(q.waiting, v)
	} else {
		q.waiting = append(q.waiting, v)
	}
	q.mu.Unlock()
	q.wake.raise()
}

// take returns what is there.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.waiting
	q.waiting = nil
	return all
}
