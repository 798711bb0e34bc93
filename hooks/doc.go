// Package hooks carries role requests, of keepalived or of a person, to the keeper
// in the order in which they were made, and brings its answer back.
//
// A hook is a short-lived process. keepalived starts hooks concurrently and
// forgets them, so the order in which they run proves nothing. Each hook
// therefore carries a Token, taken from the moment at which the kernel created
// its process (a person's command: from the present moment), and records its role
// request under a lock: the newest token wins however late an older hook gets to
// run. The keeper (package keeper) reads the record and makes the router match it.
package hooks
