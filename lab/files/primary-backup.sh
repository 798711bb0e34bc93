#!/bin/sh
# The classic notify script, as it is passed around: what wanfail replaces, and
# what it is measured against.
case "$1" in
primary)
	ip link add wan link eth2 address {{.SharedMAC}} type macvlan mode bridge
	ip link set wan up
	{{.Client}}
{{- if .Conntrackd}}
	conntrackd -c
	conntrackd -f
	conntrackd -R
	conntrackd -B
{{- end}}
{{- range .Services}}
	{{if $.Systemd}}systemctl start {{.}}{{else}}/etc/init.d/{{.}} start{{end}}
{{- end}}
	;;
backup | fault | stop)
{{- range .Services}}
	{{if $.Systemd}}systemctl stop {{.}}{{else}}/etc/init.d/{{.}} stop{{end}}
{{- end}}
	{{.StopClient}}
	ip link del wan
{{- if .Conntrackd}}
	conntrackd -t
	conntrackd -n
{{- end}}
	;;
esac
exit 0
