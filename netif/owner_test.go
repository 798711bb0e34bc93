package netif

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// another opens a Manager of a wanfail with a run directory of its own.
func another(t *testing.T, id string) *Manager {
	t.Helper()
	m, err := New(slog.New(slog.NewTextHandler(t.Output(), nil)), WithOwner(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestAnotherOwner: nothing that one wanfail does touches the link of another.
func TestAnotherOwner(t *testing.T) {
	const dir = "/run/try"
	b := newBench(t)
	b.gateway()
	for name, pair := range map[string][2]*Manager{
		"the usual one has the link": {b.Manager, another(t, dir)},
		"the other one has it":       {another(t, dir), b.Manager},
		"neither is the usual one":   {another(t, "/run/a"), another(t, dir)},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := pair[0], pair[1]
			d := lease("198.51.100.7/24")
			if _, err := first.Apply(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			moved := d
			moved.Link.Name = "wan2"
			_, apply := second.Apply(t.Context(), d)
			_, twin := second.Apply(t.Context(), moved)
			mute := second.Mute(t.Context(), wan)
			_, purge := second.Purge(t.Context(), wan)
			for what, err := range map[string]error{"apply": apply, "mute": mute, "purge": purge} {
				if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "run directory") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if !errors.Is(twin, ErrTwin) || !strings.Contains(twin.Error(), "run directory") {
				t.Errorf("the same MAC under another name: %v", twin)
			}
			if names, err := second.PurgeOrphans(t.Context(), nil); len(names) > 0 || err != nil {
				t.Errorf("purged %q, %v", names, err)
			}
			if err := second.MuteOrphans(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if _, err := second.nl.getLink("wan2"); !errors.Is(err, ErrNoLink) {
				t.Errorf("the link that could not be set up is left: %v", err)
			}
			o, err := second.Observe(t.Context(), wan)
			if err != nil || o.Owned || len(o.Warnings) == 0 {
				t.Errorf("the other one observes %+v, %v", o, err)
			}
			o, err = first.Observe(t.Context(), wan)
			if err != nil || !o.Matches || o.Muted || !o.Up || len(o.Addresses) != 1 || len(o.Routes) != 1 {
				t.Errorf("its own observes %+v, %v", o, err)
			}
			if c, err := first.Apply(t.Context(), d); !c.None() || err != nil {
				t.Errorf("its own had to set right %q, %v", c.Steps, err)
			}
			if err := first.MuteOrphans(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if o, _ := first.Observe(t.Context(), wan); !o.Muted || o.Loose {
				t.Errorf("its own orphan is not mute: %+v", o)
			}
			if ok, err := first.Purge(t.Context(), wan); !ok || err != nil {
				t.Errorf("its own cannot delete it: %v, %v", ok, err)
			}
		})
	}
}

// TestOwners: the mark of a link is in the message that makes it.
func TestOwners(t *testing.T) {
	usual, a, b := ownerOf(""), ownerOf("/run/a"), ownerOf("/run/b")
	made := func(o owner, alias string) *link {
		return &link{kind: macvlanKind, group: o.group, alias: alias, mac: string(shared)}
	}
	for name, c := range map[string]struct {
		l    *link
		want [3]bool // made by usual, a, b
	}{
		"of an earlier version, or without an alias yet": {made(usual, ""), [3]bool{true, false, false}},
		"of an earlier version":                          {made(usual, Alias), [3]bool{true, false, false}},
		"just made by a":                                 {made(a, ""), [3]bool{false, true, false}},
		"made by b":                                      {made(b, Alias+" /run/b"), [3]bool{false, false, true}},
		"of a, and somebody has changed the alias":       {made(a, "uplink"), [3]bool{false, true, false}},
		"of another one with the group of a":             {made(a, Alias+" /run/c"), [3]bool{}},
		"of nobody":                                      {&link{kind: macvlanKind, group: 7}, [3]bool{}},
		"another kind":                                   {&link{kind: "dummy", group: Group}, [3]bool{}},
	} {
		if got := [3]bool{usual.made(c.l), a.made(c.l), b.made(c.l)}; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	changed := made(owner{group: 0}, Alias+" /run/a")
	if !a.owns(changed, shared) || a.owns(changed, []byte{2, 0, 0, 0, 0, 9}) || usual.owns(changed, shared) {
		t.Error("a link whose group somebody has changed is known by alias and MAC")
	}
	if long := ownerOf("/" + strings.Repeat("x", 300)); len(long.alias) != maxAlias {
		t.Errorf("alias of %d bytes", len(long.alias))
	}
}
