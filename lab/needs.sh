#!/bin/sh
# usage: lab/needs.sh TARGET...
#
# Sees to it that this computer has what `make TARGET` runs: demo, test, lint or
# package. What is missing is installed (Debian, as root), or else named in one
# line that can be pasted. It is the only list of what the project needs.
set -eu

# package:a command or file of it, which is what counts where there is no dpkg.
list() {
	case "$1" in
		demo)
			echo debootstrap:debootstrap
			# For a mirror that is reached by https.
			echo ca-certificates:/etc/ssl/certs/ca-certificates.crt
			;;
		test)
			list demo
			# The race detector.
			echo gcc:gcc
			echo libc6-dev:/usr/include/stdlib.h
			# Package scripts run under busybox, foreign binaries under qemu.
			echo busybox-static:busybox
			echo qemu-user-static:qemu-mips-static
			echo shellcheck:shellcheck
			echo dpkg:dpkg
			# The kernel as others see it, and the shells that read the completions.
			echo iproute2:ip
			echo nftables:nft
			# /etc/protocols, by which rules name vrrp.
			echo netbase:/etc/protocols
			echo systemd:systemd-analyze
			echo util-linux:nsenter
			echo zsh:zsh
			echo fish:fish
			;;
		lint)
			echo shellcheck:shellcheck
			;;
		package) ;; # Go, git and make
		*)
			echo "lab/needs.sh: unknown target \"$1\"" >&2
			exit 2
			;;
	esac
}

# PATH of an ordinary user lacks /usr/sbin on Debian.
PATH=$PATH:/usr/sbin:/sbin

installed() { # PACKAGE COMMAND|FILE
	if command -v dpkg-query >/dev/null; then
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
		return
	fi
	case "$2" in
		/*) [ -e "$2" ] ;;
		*) command -v "$2" >/dev/null ;;
	esac
}

missing=
for target; do
	needs=$(list "$target")
	for need in $needs; do
		package=${need%%:*}
		! installed "$package" "${need#*:}" || continue
		case " $missing " in
			*" $package "*) ;;
			*) missing="$missing${missing:+ }$package" ;;
		esac
	done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "make $*: packages are missing; Debian calls them $missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "make $*: packages are missing; to install them:" >&2
	echo "sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
	exit 1
fi
echo "make $*: installing $missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
# Another make may be at it.
# shellcheck disable=SC2086 # one word each
apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends $missing >&2
