#!/bin/sh
# Runs in the image after its packages are configured: nothing starts on its own
# (the lab decides what runs on which machine), and a boot does only what a
# machine without hardware needs.
set -eu

apt() { apt-get -q -o APT::Sandbox::User=root "$@"; }
apt update
# What else would configure a router's interfaces, where a test starts it. In
# debootstrap's order of things polkitd cannot be configured.
apt -y --no-install-recommends install network-manager ifupdown
# It cannot be installed beside systemd-resolved: a test takes one for the other.
mkdir -p /var/lib/lab
(cd /var/lib/lab && apt download resolvconf)

rm -rf /etc/systemd/system/*.wants /etc/systemd/system/dbus-org.freedesktop.resolve1.service
rm -f /etc/rc?.d/[SK]*

for unit in \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
	systemd-tmpfiles-clean.timer \
	getty.target getty-static.service console-getty.service \
	cryptsetup.target integritysetup.target veritysetup.target \
	dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	systemd-binfmt.service systemd-firstboot.service systemd-hwdb-update.service \
	systemd-journal-catalog-update.service systemd-journal-flush.service systemd-journald-audit.socket \
	systemd-logind.service systemd-machine-id-commit.service systemd-modules-load.service \
	systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pstore.service \
	systemd-random-seed.service systemd-remount-fs.service systemd-repart.service systemd-sysusers.service \
	systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
	systemd-update-done.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	systemd-user-sessions.service systemd-initctl.socket systemd-sysctl.service \
	systemd-ask-password-console.path systemd-ask-password-wall.path kmod-static-nodes.service
do
	ln -sf /dev/null "/etc/systemd/system/$unit"
done

mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nForwardToSyslog=no\nRateLimitIntervalSec=0\n' >/etc/systemd/journald.conf.d/lab.conf

# debootstrap copied these from the computer. systemd-resolved is started where
# a test wants it.
rm -f /etc/hostname /etc/resolv.conf
: >/etc/resolv.conf
: >/etc/machine-id

# What Debian ships as examples must not look like a configuration.
rm -f /etc/dnsmasq.conf /etc/miniupnpd/miniupnpd.conf /etc/conntrackd/conntrackd.conf /etc/nftables.conf
printf 'conf-dir=/etc/dnsmasq.d,*.conf\n' >/etc/dnsmasq.conf

dpkg-query -W -f '${Package} ${Version}\n' >/lab-manifest
rm -rf /var/cache/apt/archives/*.deb /var/cache/apt/*.bin /var/lib/apt/lists/* /var/log/*.log /var/cache/debconf/*-old \
	/usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian
