//go:build race

package keeper_test

// slow is how much more time the race detector needs.
const slow = 5
