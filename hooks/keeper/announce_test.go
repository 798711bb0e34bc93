package keeper_test

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/intent"
)

// perAnnouncement is how many frames an announcement has: a request and a reply,
// four times in a second.
const perAnnouncement = 8

// A master that received a lower advert announces its address again, and so does one
// whose port had no carrier: the switch may have learned the MAC elsewhere. The
// same role again sends nothing, and neither does a backup.
func TestAnnouncedAgain(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	packets := w.capture()
	want := 0
	announced := func(what string, more int) {
		t.Helper()
		want += more
		w.eventually(what, 5*time.Second, func() bool { return packets.announced() >= want })
		time.Sleep(200 * time.Millisecond) // there is no event for a frame that does not come
		if got := packets.announced(); got != want {
			t.Errorf("%s: %d frames, want %d", what, got, want)
		}
	}
	again := func(scope string) {
		t.Helper()
		i := w.intent(intent.Backup) // it is no role request: the role does not count
		i.State, i.Scope = "MASTER_RX_LOWER_PRI", scope
		if err := w.hook().Announce(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	w.become(intent.Primary)
	announced("promotion", perAnnouncement)
	w.become(intent.Primary)
	announced("the same role again", 0)
	again("")
	announced("a lower advert", perAnnouncement)
	again("VI_1")
	announced("a lower advert of an instance", perAnnouncement)
	if r := w.status(); r.Role != intent.Primary {
		t.Errorf("an announcement made it %s", r.Role)
	}

	carrier := func(change func(netlink.Link) error) {
		t.Helper()
		w.isp.Do(t, func() error {
			l, err := netlink.LinkByName("isp0")
			if err != nil {
				return err
			}
			return change(l)
		})
	}
	carrier(netlink.LinkSetDown)
	w.eventually("no carrier", 5*time.Second, func() bool { return w.status().WANs[0].Diagnosis == "no-carrier" })
	carrier(netlink.LinkSetUp)
	announced("carrier is back", perAnnouncement)

	w.become(intent.Backup)
	again("")
	announced("a lower advert while backup", 0)
}

// Without a keeper nothing is announced, and that is no error.
func TestAnnounceWithoutKeeper(t *testing.T) {
	w := newLine(t)
	if err := w.hook().Announce(t.Context(), w.intent(intent.Primary)); err != nil {
		t.Error(err)
	}
}
