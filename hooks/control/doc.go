// Package control is what a hook, a person and the keeper exchange on the keeper's
// socket: requests, answers and the report of a router's state.
package control
