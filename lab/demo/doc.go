// Package demo shows a failover in the lab to a person: live on a terminal, as
// plain lines elsewhere.
//
// Model is what is known, fed with the lab's events; the screens only draw it.
package demo
