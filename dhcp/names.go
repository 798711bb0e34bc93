package dhcp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	maxName  = 253 // RFC 1035 2.3.4, in presentation form without the last dot
	maxLabel = 63
	maxText  = 128 // of a server's message (option 56) that is worth showing
)

// validName reports whether s is a host or domain name by RFC 952 and RFC 1123:
// labels of letters, digits and inner hyphens. Nothing else may come from the
// wire into resolv.conf.
func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}

// name reads a text option that holds one name.
func (p *parser) name(code dhcpv4.OptionCode) string {
	v := p.get(code)
	// RFC 2132 2: the text should not end with NUL, but some servers do that.
	s := strings.TrimSuffix(strings.TrimRight(string(v), "\x00"), ".")
	if s == "" {
		return ""
	}
	if !validName(s) {
		p.fault(fmt.Sprintf("option %d is not a name", code.Code()))
		return ""
	}
	return s
}

// search reads option 119 (RFC 3397). A list that is malformed as a whole is
// dropped, a single bad name is left out.
func (p *parser) search() []string {
	v := p.get(dhcpv4.OptionDNSDomainSearchList)
	if v == nil {
		return nil
	}
	var names []string
	for pos := 0; pos < len(v); {
		name, next, err := wireName(v, pos)
		if err != nil {
			p.fault("search list: " + err.Error())
			return nil
		}
		pos = next
		switch {
		case !validName(name):
			p.fault("search list holds something that is not a name")
		case len(names) == maxSearch:
			p.fault("search list is too long")
			return names
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names
}

// wireName decodes the domain name at pos of buf (RFC 1035 4.1.4) and returns
// the position behind it. A pointer must point before the place where the
// previous one led, so decoding always ends.
func wireName(buf []byte, pos int) (name string, next int, err error) {
	var b strings.Builder
	limit := pos
	next = -1
	for {
		if pos >= len(buf) {
			return "", 0, errors.New("name runs past the end")
		}
		n := int(buf[pos])
		switch {
		case n == 0:
			if next < 0 {
				next = pos + 1
			}
			return b.String(), next, nil
		case n&0xc0 == 0xc0:
			if pos+1 >= len(buf) {
				return "", 0, errors.New("pointer runs past the end")
			}
			to := (n&0x3f)<<8 | int(buf[pos+1])
			if to >= limit {
				return "", 0, errors.New("pointer does not point back")
			}
			if next < 0 {
				next = pos + 2
			}
			pos, limit = to, to
		case n > maxLabel:
			return "", 0, errors.New("unknown label type")
		default:
			if pos+1+n > len(buf) {
				return "", 0, errors.New("label runs past the end")
			}
			if b.Len()+n+1 > maxName+1 {
				return "", 0, errors.New("name is too long")
			}
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			// A dot inside a label would read as two labels, and both would be
			// valid ones.
			if slices.Contains(buf[pos+1:pos+1+n], '.') {
				return "", 0, errors.New("dot inside a label")
			}
			b.Write(buf[pos+1 : pos+1+n])
			pos += 1 + n
		}
	}
}

// printable keeps the printable ASCII of a server's message, for logs.
func printable(v []byte) string {
	var b strings.Builder
	for _, c := range v {
		if b.Len() == maxText {
			break
		}
		if c >= ' ' && c <= '~' {
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}
