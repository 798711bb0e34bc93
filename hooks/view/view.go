// Package view puts what a keeper says into words for a person at a terminal,
// and into metrics for Prometheus.
package view
