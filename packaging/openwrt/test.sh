#!/bin/sh
# Called by the feed's CI inside an OpenWrt of the target architecture, with the
# package's name and version.

case "$1" in
	wanfail)
		wanfail --version 2>&1 | grep -F "$2"
		;;
esac
