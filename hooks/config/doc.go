// Package config reads wanfail's configuration, a file in UCI syntax on every
// platform, and turns it into a Config that needs no further checks.
//
// Everything unknown is an error that names file, line and option: a misspelt
// option that was ignored would be noticed only at the failover.
package config
