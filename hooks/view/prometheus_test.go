package view

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestPrometheus(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			Prometheus(&b, r, now)
			golden(t, name+".prom", b.Bytes())
			if _, err := parseMetrics(b.String()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrometheusValues(t *testing.T) {
	r := reports()["primary"]
	r.WANs[0].Error = "a \"quoted\\\n\xff\" text"
	r.By = r.WANs[0].Error
	r.WANs[0].State = r.WANs[0].Error // the worst that a label can hold
	var b bytes.Buffer
	Prometheus(&b, r, now)
	got, err := parseMetrics(b.String())
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		`wanfail_primary`:   1,
		`wanfail_keeper_up`: 1,
		`wanfail_wan_state{wan="wan",state="a \"quoted\\\n` + "�" + `\" text"}`: 1,
		`wanfail_wan_lease_expires_timestamp_seconds{wan="wan"}`:                float64(now.Unix() + 2470),
		`wanfail_wan_lease_seconds{wan="wan"}`:                                  3600,
		`wanfail_wan_gateway_rtt_seconds{wan="wan"}`:                            0.000412,
		`wanfail_service_running{service="dnsmasq",backend="systemd"}`:          1,
		`wanfail_service_running{service="miniupnpd",backend="systemd"}`:        0,
		`wanfail_transition_seconds{role="primary"}`:                            1.234,
		`wanfail_transition_phase_seconds{role="primary",phase="address"}`:      0.0029,
		`wanfail_conntrackd_ok`:                                                 1,
		`wanfail_role_since_timestamp_seconds`:                                  float64(now.Unix() - 7380),
		`wanfail_wan_gateway_last_reply_timestamp_seconds{wan="wan"}`:           float64(now.Unix() - 12),
		`wanfail_wan_failing{wan="wan"}`:                                        1,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s: got %v (there: %t), want %v", series, v, ok, want)
		}
	}
	infinite := reports()["trouble"]
	b.Reset()
	Prometheus(&b, infinite, now)
	if got, err = parseMetrics(b.String()); err != nil || !math.IsInf(got[`wanfail_wan_lease_seconds{wan="wan3"}`], 1) {
		t.Errorf("infinite lease: %v, %v", got, err)
	}
}

// The parser itself must find what is wrong.
func TestParserIsStrict(t *testing.T) {
	for _, bad := range []string{
		"a 1\n", "# TYPE a gauge\na 1\n", "# HELP a x\n# TYPE a gauge\n", "# HELP a x\n# TYPE a gauge\na 1\na 2\n",
		"# HELP a x\n# TYPE a gauge\na{b=\"c} 1\n", "# HELP a x\n# TYPE a gauge\na one\n", "# HELP a x\n# TYPE a gauge\na 1",
		"# HELP a x\n# TYPE a gauge\na{b=\"1\",b=\"2\"} 1\n", "# HELP a x\n# TYPE a gague\na 1\n", "# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n",
		"# HELP a x\n# TYPE a gauge\na 1\n# HELP b x\n# TYPE b gauge\nb 1\na{x=\"1\"} 1\n",
	} {
		if _, err := parseMetrics(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelPair  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)`)
	nonBase    = regexp.MustCompile(`_(ms|us|ns|milliseconds|minutes|hours|percent|kb|bits)(_|$)`)
)

// parseMetrics reads the text format as strictly as its specification allows:
// HELP and TYPE once and before the samples of their family, families not
// interleaved, no series twice, base units.
func parseMetrics(s string) (map[string]float64, error) {
	if s != "" && !strings.HasSuffix(s, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	series, families, family, samples, help := map[string]float64{}, map[string]bool{}, "", 0, ""
	for i, line := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("line %d: %s: %s", i+1, fmt.Sprintf(format, args...), line)
		}
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, text, _ := strings.Cut(rest, " ")
			if family != "" && samples == 0 {
				return nil, fail("%s has no samples", family)
			}
			if !metricName.MatchString(name) || nonBase.MatchString(name) || families[name] || text == "" {
				return nil, fail("bad, repeated or undescribed family")
			}
			families[name], help, samples, family = true, name, 0, ""
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != help || (kind != "gauge" && kind != "counter") {
				return nil, fail("TYPE without its HELP, or unknown")
			}
			family = name
			continue
		}
		end := strings.IndexAny(line, "{ ")
		if end < 0 || line[:end] != family || family == "" {
			return nil, fail("sample outside its family %q", family)
		}
		rest, seen := line[end:], map[string]bool{}
		if rest[0] == '{' {
			rest = rest[1:]
			for rest != "" && rest[0] != '}' {
				// Up to the end of the label set, so that the pattern's $ is one.
				m := labelPair.FindStringSubmatch(rest)
				if m == nil {
					if m = labelPair.FindStringSubmatch(strings.SplitAfterN(rest, `"}`, 2)[0][:max(0, strings.Index(rest, `"} `)+1)]); m == nil {
						return nil, fail("bad labels at %q", rest)
					}
				}
				if seen[m[1]] {
					return nil, fail("label %s twice", m[1])
				}
				seen[m[1]] = true
				rest = rest[len(m[0]):]
			}
			rest = strings.TrimPrefix(rest, "}")
		}
		value, ok := strings.CutPrefix(rest, " ")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			return nil, fail("bad value")
		}
		key := line[:len(line)-len(rest)]
		if _, twice := series[key]; twice {
			return nil, fail("series twice")
		}
		series[key] = v
		samples++
	}
	if family != "" && samples == 0 || family == "" && help != "" {
		return nil, fmt.Errorf("%s has no samples", help)
	}
	return series, nil
}
