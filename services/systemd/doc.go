// Package systemd connects to systemd's manager, for all parts of the program that
// talk to it. What is said over the connection is go-systemd's; its making and its
// end are not, since go-systemd does not tell that a connection broke, and does
// not know of systemd 252's way to leave a first call unread.
package systemd
