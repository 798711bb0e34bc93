package dhcp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Option is one raw DHCP option. Its text form is CODE:HEX, such as 125:00000de9.
type Option struct {
	Code uint8
	Data []byte
}

// ParseOption reads the text form. Colons, dots and spaces between the bytes
// are allowed.
func ParseOption(s string) (Option, error) {
	code, data, ok := strings.Cut(s, ":")
	if !ok {
		return Option{}, fmt.Errorf("option %q is not CODE:HEX", s)
	}
	n, err := strconv.ParseUint(code, 10, 8)
	if err != nil || n == 0 || n == 255 {
		return Option{}, fmt.Errorf("option code %q is not 1 to 254", code)
	}
	b, err := hex.DecodeString(strings.NewReplacer(":", "", ".", "", " ", "").Replace(data))
	if err != nil {
		return Option{}, fmt.Errorf("value of option %d: %w", n, err)
	}
	return Option{Code: uint8(n), Data: b}, nil
}

// String is the text form.
func (o Option) String() string { return strconv.Itoa(int(o.Code)) + ":" + hex.EncodeToString(o.Data) }

// MarshalText implements encoding.TextMarshaler.
func (o Option) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Option) UnmarshalText(b []byte) error {
	v, err := ParseOption(string(b))
	if err == nil {
		*o = v
	}
	return err
}

// requested is what every request asks for (option 55). RFC 3442 wants 121
// before 33 and 3. Option 108 is not in it: to list it is to consent to being
// left without IPv4 (RFC 8925 3.2).
var requested = [...]dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask,
	dhcpv4.OptionClasslessStaticRoute,
	optionMSRoutes,
	dhcpv4.OptionStaticRoutingTable,
	dhcpv4.OptionRouter,
	dhcpv4.OptionDomainNameServer,
	dhcpv4.OptionHostName,
	dhcpv4.OptionDomainName,
	dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionBroadcastAddress,
	dhcpv4.OptionIPAddressLeaseTime,
	dhcpv4.OptionServerIdentifier,
	dhcpv4.OptionRenewTimeValue,
	dhcpv4.OptionRebindingTimeValue,
	dhcpv4.OptionDNSDomainSearchList,
}

// checkSend refuses to let the configuration send what the protocol decides.
func checkSend(opts []Option) error {
	seen := map[uint8]bool{}
	for _, o := range opts {
		switch o.Code {
		case 0, 255:
			return fmt.Errorf("send option %d: it is not an option", o.Code)
		case dhcpv4.OptionRequestedIPAddress.Code(), dhcpv4.OptionIPAddressLeaseTime.Code(),
			dhcpv4.OptionOptionOverload.Code(), dhcpv4.OptionDHCPMessageType.Code(),
			dhcpv4.OptionServerIdentifier.Code(), dhcpv4.OptionParameterRequestList.Code(),
			dhcpv4.OptionMaximumDHCPMessageSize.Code(), dhcpv4.OptionRelayAgentInformation.Code():
			return fmt.Errorf("send option %d: it belongs to the DHCP client itself", o.Code)
		}
		if seen[o.Code] {
			return fmt.Errorf("send option %d twice", o.Code)
		}
		seen[o.Code] = true
		if len(o.Data) > 255 {
			return fmt.Errorf("send option %d: more than 255 bytes", o.Code)
		}
	}
	return nil
}

var errTooLong = errors.New("longer than 255 bytes")

func checkText(name, s string) error {
	if len(s) > 255 {
		return fmt.Errorf("%s: %w", name, errTooLong)
	}
	return nil
}
