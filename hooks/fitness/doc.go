// Package fitness finds out whether this router has what it needs beside the keeper
// to become and stay master: a keepalived that runs, connections that are
// replicated, and services that a boot starts. Status, check and doctor all use it.
package fitness
