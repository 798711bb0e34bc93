# Stands in for OpenWrt's /lib/functions.sh: what the package's scripts use of it.

record() {
	{
		printf '%s' "$1"
		shift
		for arg; do printf ' [%s]' "$arg"; done
		echo
	} >>/calls
}

config_load() {
	loaded=/etc/config/$1
}

config_foreach() {
	while read -r word type name; do
		type=${type#[\"\']}
		type=${type%[\"\']}
		[ "$word" = config ] && [ "$type" = "$2" ] || continue
		"$1" "$name"
	done <"$loaded"
}

default_postinst() {
	record default_postinst "root=$root" "pkgname=$pkgname" "PKG_UPGRADE=$PKG_UPGRADE"
}

default_prerm() {
	record default_prerm "root=$root" "pkgname=$pkgname" "PKG_UPGRADE=$PKG_UPGRADE"
}
