package netif

import (
	"fmt"
	"math"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// noSuppress is the value of a rule that uses every route of its table.
const noSuppress = math.MaxUint32

// rule is an IPv4 routing policy rule that looks into a table. Values of it can
// be compared with ==.
type rule struct {
	priority uint32
	iif      string
	table    uint32
	suppress uint32 // routes with at most so many bits of prefix are passed over; noSuppress: none
	proto    uint8  // who made it (Linux 4.17)
}

// backupRules lead to the backup's default route: for what this router sends,
// first every route of the main table that is no default route, then that.
var backupRules = [...]rule{
	{priority: BackupPriority, iif: "lo", table: unix.RT_TABLE_MAIN, suppress: 0, proto: BackupProtocol},
	{priority: BackupPriority + 1, iif: "lo", table: BackupTable, suppress: noSuppress, proto: BackupProtocol},
}

// ours reports whether wanfail made the rule, perhaps another version.
func (r rule) ours() bool { return r.proto == BackupProtocol || r.table == BackupTable }

// String formats the rule as ip-rule(8) does.
func (r rule) String() string {
	s := fmt.Sprintf("%d: iif %s lookup %d", r.priority, r.iif, r.table)
	if r.suppress != noSuppress {
		s += fmt.Sprintf(" suppress_prefixlength %d", r.suppress)
	}
	return s
}

// message is the rule as part of a request.
func (r rule) message() []nl.NetlinkRequestData {
	parts := []nl.NetlinkRequestData{
		&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: nl.FR_ACT_TO_TBL}},
		nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(r.priority)),
		nl.NewRtAttr(unix.FRA_IIFNAME, nl.ZeroTerminated(r.iif)),
		nl.NewRtAttr(unix.FRA_TABLE, nl.Uint32Attr(r.table)),
		nl.NewRtAttr(unix.FRA_PROTOCOL, nl.Uint8Attr(r.proto)),
	}
	if r.suppress != noSuppress {
		parts = append(parts, nl.NewRtAttr(unix.FRA_SUPPRESS_PREFIXLEN, nl.Uint32Attr(r.suppress)))
	}
	return parts
}

// listRules lists the IPv4 rules that look into a table.
func (c *conn) listRules() ([]rule, error) {
	msgs, err := c.dump(unix.RTM_GETRULE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}})
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w", err)
	}
	var rules []rule
	for _, msg := range msgs {
		if r, ok := parseRule(msg); ok {
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// parseRule reads the payload of an RTM_NEWRULE or RTM_DELRULE. It passes over
// other families and other actions.
func parseRule(msg []byte) (rule, bool) {
	if len(msg) < unix.SizeofRtMsg {
		return rule{}, false
	}
	// struct fib_rule_hdr has the layout of struct rtmsg.
	h := nl.DeserializeRtMsg(msg)
	r := rule{table: uint32(h.Table), suppress: noSuppress}
	for typ, val := range attributes(msg[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.FRA_PRIORITY:
			r.priority = u32(val)
		case unix.FRA_IIFNAME:
			r.iif = cstring(val)
		case unix.FRA_TABLE:
			r.table = u32(val)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.suppress = u32(val)
		case unix.FRA_PROTOCOL:
			if len(val) >= 1 {
				r.proto = val[0]
			}
		}
	}
	for _, known := range backupRules {
		// A kernel that keeps no origin: all that there is to go by is the rest.
		if known.proto = r.proto; r.proto == 0 && known == r {
			r.proto = BackupProtocol
		}
	}
	return r, h.Family == unix.AF_INET && h.Type == nl.FR_ACT_TO_TBL
}
