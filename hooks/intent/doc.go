// Package intent is what keepalived or a person wants of this router: role
// requests, their order, and their record in the run directory.
//
// A hook is a short-lived process. keepalived starts hooks concurrently and does
// not wait for them, so the order in which they run proves nothing. Each hook
// therefore carries a Token, taken from the moment at which the kernel created
// its process (a person's command: from the present moment), and records its
// request under a lock: the newest token wins however late an older hook gets to
// run. The keeper reads the record and makes the router match it.
package intent
