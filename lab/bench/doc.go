// Package bench measures: wanfail against what people use today, in the
// lab, in one run, the contestants taking turns. Run measures everything and
// Write puts it into a table.
//
// All times are taken outside of the programs that are compared: a hook begins
// when its process is made, and ends when the kernel has announced the default
// route and the gateway has answered a ping.
package bench
