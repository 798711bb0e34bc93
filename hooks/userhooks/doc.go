// Package userhooks runs the administrator's scripts when something happens on
// the WAN. They never delay it: they run beside the keeper, at low priority,
// in the order of the events, those of one event at the same time and each for a
// limited time.
//
// What a script gets, it gets in its environment. All values have been validated
// where they came from, and none passes through a shell on the way.
package userhooks
