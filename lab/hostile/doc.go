// Package hostile attacks routers of the lab from the WAN, from the LAN and as a
// user of the router itself, with real keepalived, and writes down what is seen.
// The table in docs/security.md is its result:
//
//	go test ./lab/hostile            # compares
//	go test ./lab/hostile -update    # writes
package hostile
