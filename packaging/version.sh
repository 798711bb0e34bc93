#!/bin/sh
# version.sh deb|apk VERSION EPOCH
#
# Turns what `git describe --tags --always --dirty` says into a version that the
# package manager accepts and sorts right:
#
#	v1.2.0               1.2.0               1.2.0
#	v1.2.0-rc1           1.2.0~rc1           1.2.0_rc1
#	v1.2.0-5-gabc1234    1.2.0+5.gabc1234    1.2.0_p5
#	abc1234 (no tag)     0.0.0~git20261122.abc1234   0.0.0_git20261122
#
# deb is also what opkg compares. EPOCH is the commit's time in seconds.
set -eu

format=$1
describe=${2#v}
epoch=$3

case "$format" in
	deb | apk) ;;
	*)
		echo "version.sh: unknown format '$format'" >&2
		exit 2
		;;
esac

dirty=
case "$describe" in
	*-dirty)
		describe=${describe%-dirty}
		dirty=+dirty
		;;
esac

commits='' hash=''
case "$describe" in
	*-*-g*)
		hash=${describe##*-g}
		describe=${describe%-g*}
		commits=${describe##*-}
		describe=${describe%-*}
		;;
esac

pre=''
case "$describe" in
	*-*)
		pre=${describe#*-}
		describe=${describe%%-*}
		;;
esac

# Without a tag, git describe says a hash, which may happen to be all digits.
case "$describe" in
	*[!0-9.]* | *..* | .* | *. | '') tag='' ;;
	*.*) tag=$describe ;;
	*) tag='' ;;
esac
if [ -z "$tag" ]; then
	date=$(date -u -d "@$epoch" +%Y%m%d)
	case "$format" in
		deb) echo "0.0.0~git$date.$describe$dirty" ;;
		apk) echo "0.0.0_git$date" ;;
	esac
	exit 0
fi

case "$format" in
	deb) echo "$tag${pre:+~$pre}${commits:++$commits.g$hash}$dirty" ;;
	apk) echo "$tag${pre:+_$pre}${commits:+_p$commits}" ;;
esac
