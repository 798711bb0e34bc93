#!/bin/sh
# shellcheck shell=dash disable=SC2034
# netifd's view of a WAN that wanfail keeps (`option proto 'wanfail'`): nothing
# for netifd to set up, nothing to tear down. The keeper says by `ubus call
# network.interface notify_proto` when there is an address, and when there is
# none. In return the firewall's zone, the resolver's list and miniupnpd know
# their external interface.

[ -n "$INCLUDE_ONLY" ] || {
	# shellcheck source=/dev/null
	. /lib/functions.sh
	# shellcheck source=/dev/null
	. ../netifd-proto.sh
	init_proto "$@"
}

proto_wanfail_init_config() {
	no_device=1
	available=1
	no_proto_task=1
	proto_config_add_defaults
}

# netifd has (re)started, or the interface was taken down and up again: it has
# forgotten the address. SIGHUP makes the keeper say it again. At boot there is no
# keeper yet, which ubus would call an error in the log.
proto_wanfail_setup() {
	ubus -S call service signal '{"name":"wanfail","signal":1}' || :
}

proto_wanfail_teardown() {
	:
}

[ -n "$INCLUDE_ONLY" ] || add_protocol wanfail
