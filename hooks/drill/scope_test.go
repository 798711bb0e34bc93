package drill

import (
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/doctor"
)

// OpenWrt's UCI cannot say what a drill needs. All other refusals are shown with
// their configurations by hooks/command's script drill.txtar.
func TestChooseUCI(t *testing.T) {
	k := &doctor.Keepalived{File: "/tmp/keepalived.conf", Instances: []*doctor.Instance{{Name: "VI_1", Priority: 250}}}
	_, err := Choose(k, []config.WAN{{Name: "wan", Instance: "VI_1"}}, "")
	if err == nil || !strings.HasSuffix(err.Error(), "and name a file of your own with `option alt_config_file`") {
		t.Errorf("got %v", err)
	}
}
