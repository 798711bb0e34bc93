// Package hook is the short-lived process that keepalived or a person starts: it
// records a role request, starts a keeper where none runs, waits for the outcome,
// and makes the router backup itself where there is no keeper to be had.
package hook
