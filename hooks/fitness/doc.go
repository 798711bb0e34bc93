// Package fitness tells what this router needs beside the keeper to become master
// and to stay it: a keepalived that runs, connections that are replicated, and
// services that a boot starts. Status, check and doctor say the same of it.
package fitness
