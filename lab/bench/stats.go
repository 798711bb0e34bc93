package bench

import (
	"fmt"
	"slices"
	"time"
)

// Series is what was measured in several rounds.
type Series struct {
	Values []time.Duration
	// Failed counts rounds without a result, none of them within Limit.
	Failed int
	Limit  time.Duration
}

func (s *Series) add(d time.Duration) { s.Values = append(s.Values, d) }

// Median of the rounds that succeeded; zero without any.
func (s Series) Median() time.Duration {
	if len(s.Values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.Values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// Range of the rounds that succeeded.
func (s Series) Range() (least, most time.Duration) {
	if len(s.Values) == 0 {
		return 0, 0
	}
	return slices.Min(s.Values), slices.Max(s.Values)
}

// String is the median with the range, in milliseconds.
func (s Series) String() string {
	n := len(s.Values) + s.Failed
	switch {
	case n == 0:
		return "-"
	case len(s.Values) == 0:
		return fmt.Sprintf("never (> %s)", s.Limit)
	}
	least, most := s.Range()
	text := millis(s.Median())
	if len(s.Values) > 1 {
		text += fmt.Sprintf(" (%s to %s)", bare(least), bare(most))
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d of %d never", s.Failed, n)
	}
	return text
}

func millis(d time.Duration) string { return bare(d) + " ms" }

// bare is a duration in milliseconds with two digits that mean something.
func bare(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 0:
		return "-" + bare(-d)
	case ms < 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
