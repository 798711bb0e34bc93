// Package view prints what a keeper reports, for a person at a terminal and as
// metrics for Prometheus.
package view
