package doctor

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
)

// common is what the two routers must have alike: fields of config.Config and
// config.WAN, by the option that sets them.
type common struct {
	option   string
	severity Severity
	why      string
}

const (
	twoClients = "to the ISP they are two clients, with two addresses: no session survives"
	otherLease = "what the ISP grants to one router is not what it grants to the other"
	twoWays    = "a failover changes more than who has the address"
)

// commonOfWAN and commonOfRouter are those that are compared; mayDiffer are all
// other fields, with the reason. A test wants each field in one of them.
var (
	commonOfWAN = map[string]common{
		"MAC":              {"macaddr", Error, twoClients},
		"DHCP.ClientID":    {"clientid", Error, twoClients},
		"DHCP.VendorClass": {"vendorclass", Error, twoClients},
		"DHCP.UserClass":   {"userclass", Error, twoClients},
		"DHCP.Hostname":    {"hostname", Error, twoClients},
		"DHCP.Send":        {"sendopt", Error, twoClients},
		"DHCP.Request":     {"request", Error, otherLease},
		"DHCP.Broadcast":   {"broadcast", Error, otherLease},
		"DHCP.RapidCommit": {"rapidcommit", Warning, otherLease},
		"DHCP.Expect":      {"expect", Warning, twoWays},
		"Instance":         {"instance", Error, "the WAN follows another instance on each router: it may be primary on both, or on none"},
		"DefaultRoute":     {"defaultroute", Error, twoWays},
		"PeerDNS":          {"peerdns", Warning, twoWays},
		"Metric":           {"metric", Warning, twoWays},
		"MTU":              {"mtu", Warning, twoWays},
	}
	commonOfRouter = map[string]common{
		"Services":      {"service", Warning, "after a failover services are missing, or run on the backup"},
		"Conntrackd":    {"conntrackd", Error, "only one router replicates: the sessions are lost in one direction"},
		"BackupGateway": {"backup_gateway", Warning, "one of the backups cannot reach the internet"},
	}
	mayDiffer = map[string]string{
		"Name":           "the WANs are matched by it",
		"Parent":         "ports have other names on other hardware",
		"ARPInterval":    "how often the gateway is asked changes nothing for others",
		"DHCP.Priority":  "the port's own affair: the map of a VLAN device",
		"DHCP.Interface": "the name of the WAN",
		"DHCP.MAC":       "that of the WAN, which is compared",
		"DHCP.Host":      "what else each router has",
		"DHCP.LeaseFile": "where each router keeps its lease",
		"WANs":           "each is compared by itself",
		"ServicesNamed":  "how the list came about",
		"LogLevel":       "of each router's own log",
	}
)

// fieldsOf are the names of a configuration's fields; those of a structure in it
// follow a dot, unless it is a value that prints itself.
func fieldsOf(t reflect.Type) (all []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		_, prints := reflect.New(f.Type).Interface().(fmt.Stringer)
		if f.Type.Kind() == reflect.Struct && !prints {
			for _, inner := range fieldsOf(f.Type) {
				all = append(all, f.Name+"."+inner)
			}
			continue
		}
		all = append(all, f.Name)
	}
	return all
}

// options are the values of what must be alike, by option.
func options(of any, fields map[string]common) map[string]string {
	all := map[string]string{}
	for name, c := range fields {
		v := reflect.ValueOf(of)
		for _, part := range strings.Split(name, ".") {
			v = v.FieldByName(part)
		}
		if text := valueText(c.option, v.Interface()); text != "" {
			all[c.option] = text
		}
	}
	return all
}

// valueText is a value as the configuration has it, more or less.
func valueText(option string, v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case config.Switch:
		return map[config.Switch]string{config.Off: "0", config.On: "1"}[v]
	case net.HardwareAddr:
		return v.String()
	case []byte:
		if option == "request" { // numbers of options
			codes := slices.Sorted(slices.Values(v))
			return strings.Trim(fmt.Sprint(codes), "[]")
		}
		return hex.EncodeToString(v)
	case []string:
		return strings.Join(slices.Sorted(slices.Values(v)), " ")
	case []dhcp.Option:
		var all []string
		for _, o := range v {
			all = append(all, fmt.Sprintf("%d:%x", o.Code, o.Data))
		}
		return strings.Join(slices.Sorted(slices.Values(all)), " ")
	}
	if r := reflect.ValueOf(v); r.IsZero() {
		return ""
	}
	return fmt.Sprint(v)
}

// compareOptions finds the options that differ.
func compareOptions(fields map[string]common, of string, mine, peer map[string]string) (all []Finding) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		c := fields[name]
		if m, p := mine[c.option], peer[c.option]; !strings.EqualFold(m, p) {
			all = append(all, one("peer-"+strings.ReplaceAll(c.option, "_", "-"), c.severity,
				fmt.Sprintf("%s%s is '%s' here and '%s' on the peer", c.option, of, m, p), c.why, "by hand: the same value on both routers, in each configuration of wanfail")...)
		}
	}
	return all
}
