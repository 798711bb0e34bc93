// Package services starts and stops the daemons that belong to a role, through
// whatever runs the machine: systemd over D-Bus, or the scripts in /etc/init.d of
// OpenWrt and Debian.
//
// That a service manager reports a job as done is not relied upon; the state that it
// reports is. Converge compares the state with the wanted one, acts only where
// they differ, and reports success only when the state says so.
package services
