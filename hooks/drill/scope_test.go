package drill

import (
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// OpenWrt's UCI cannot say what a drill needs. All other refusals are shown with
// their configurations by hooks/command's script drill.txtar.
func TestChooseUCI(t *testing.T) {
	k := &keepalived.Config{File: "/tmp/keepalived.conf", Instances: []*keepalived.Instance{{Name: "VI_1", Priority: 250}}}
	_, err := Choose(k, []config.WAN{{Name: "wan", Instance: "VI_1"}}, "")
	if err == nil || !strings.HasSuffix(err.Error(), "and name a file of your own with `option alt_config_file`") {
		t.Errorf("got %v", err)
	}
}
