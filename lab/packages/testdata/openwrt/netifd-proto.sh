# Stands in for netifd's netifd-proto.sh: dump shows what the handler declares,
# setup and teardown call it as netifd does.

proto_config_add_defaults() { record proto_config_add_defaults; }

init_proto() {
	proto=$1
	cmd=$2
	shift 2
	case "$cmd" in
		dump)
			add_protocol() {
				no_device=0 no_proto_task=0 available=0
				"proto_$1_init_config"
				record "dump:$1" "no_device=$no_device" "no_proto_task=$no_proto_task" "available=$available"
			}
			;;
		setup | teardown)
			interface=$1
			add_protocol() {
				[ "$proto" = "$1" ] || return 0
				"proto_$1_$cmd" "$interface"
			}
			;;
	esac
}
