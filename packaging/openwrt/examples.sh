#!/bin/sh
# usage: examples.sh PACKAGING DESTINATION
#
# The examples as OpenWrt has it: the LAN is br-lan, the port to the ISP is wan, and
# its conntrackd knows nothing of systemd.
set -eu

for file in "$1"/conntrackd/*.conf "$1"/keepalived/*.conf; do
	name=${file#"$1"/}
	mkdir -p "$2/${name%/*}"
	sed -e '/^ *Systemd yes$/d' -e 's/\beth1\b/br-lan/g' -e 's/\beth2\b/wan/g' \
		-e 's|/etc/wanfail\.conf|/etc/config/wanfail|g' "$file" >"$2/$name"
	chmod 644 "$2/$name"
done
