//go:build !race

package keeper_test

// slow is how much more time a test may take than what is promised.
const slow = 1
