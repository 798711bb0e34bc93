package netif

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
)

func TestPurge(t *testing.T) {
	b := newBench(t)
	rival := []string{"link", "add", "link", "port0", "name", "rival", "address", shared.String(), "type", "macvlan", "mode", "bridge"}
	exists := func(name string) bool {
		_, err := b.nl.getLink(name)
		return err == nil
	}
	purge := func(what string, wantDeleted bool, want error) {
		t.Helper()
		// Purge is for cleaning up: an ended context must not keep it.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		deleted, err := b.Purge(ctx, wan)
		if deleted != wantDeleted || !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: purge %v, %v, want %v, %v", what, deleted, err, wantDeleted, want)
		}
		if deleted && exists("wan") {
			t.Errorf("%s: the link still exists", what)
		}
	}
	purge("nothing", false, nil)
	b.apply(lease("198.51.100.7/24"))
	purge("ours", true, nil)
	purge("ours again", false, nil)

	b.apply(Desired{Link: wan})
	ip(t, "link", "set", "wan", "alias", "")
	purge("ours, killed before the alias", true, nil)

	b.apply(Desired{Link: wan})
	ip(t, "link", "set", "wan", "group", "default")
	purge("ours by alias and MAC", true, nil)

	b.apply(Desired{Link: wan})
	ip(t, "link", "set", "wan", "group", "default", "address", "02:00:00:00:00:05")
	purge("alias without the MAC", false, ErrForeign)
	ip(t, "link", "del", "wan")

	b.apply(Desired{Link: wan})
	ip(t, "link", "set", "wan", "down")
	ip(t, "link", "set", "wan", "name", "renamed")
	purge("ours, renamed", true, nil)
	if exists("renamed") {
		t.Error("the renamed link still exists")
	}

	b.apply(Desired{Link: wan})
	ip(t, rival...) // down, so that the kernel accepts it
	purge("ours beside a foreign twin", true, ErrTwin)
	if !exists("rival") {
		t.Error("a foreign link was deleted")
	}
	purge("only the foreign twin", false, ErrTwin)
	ip(t, "link", "del", "rival")

	b.apply(Desired{Link: wan})
	ip(t, "link", "del", "port0") // the port is unplugged; its macvlans go with it
	purge("without a parent", false, nil)
}

func TestOrphans(t *testing.T) {
	b := newBench(t)
	others := []Link{
		{Name: "wan2", Parent: "port0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}},
		{Name: "wan3", Parent: "port0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}},
	}
	b.apply(lease("198.51.100.7/24"))
	for _, l := range others {
		b.apply(Desired{Link: l})
	}
	ip(t, "link", "add", "port1", "type", "veth", "peer", "name", "unplugged1")
	defer ip(t, "link", "del", "port1")
	same := Link{Name: "wan4", Parent: "port1", MAC: shared} // two ISPs may well be given the same MAC
	b.apply(Desired{Link: same})
	ip(t, "link", "add", "link", "port0", "name", "foreign", "alias", Alias, "type", "macvlan")
	defer ip(t, "link", "del", "foreign")

	configured := []Link{wan, same, {Name: "renamed", Parent: "port0", MAC: others[0].MAC}}
	orphans, err := b.Orphans(t.Context(), configured)
	if err != nil || len(orphans) != 1 || orphans[0].Name != "wan3" || orphans[0].Parent != "port0" || orphans[0].MAC.String() != others[1].MAC.String() {
		t.Errorf("orphans %+v, %v", orphans, err)
	}
	names, err := b.PurgeOrphans(t.Context(), []Link{wan, same})
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"wan2", "wan3"}) {
		t.Errorf("purged %q, %v", names, err)
	}
	if !b.observe().Matches {
		t.Error("a configured link was purged")
	}
	if orphans, err := b.Orphans(t.Context(), []Link{wan, same}); err != nil || len(orphans) > 0 {
		t.Errorf("left over: %+v, %v", orphans, err)
	}
	for _, l := range []Link{same, wan} {
		if ok, err := b.Purge(t.Context(), l); !ok || err != nil {
			t.Errorf("purge %s, which another purge must have left alone: %v, %v", l.Name, ok, err)
		}
	}
}
