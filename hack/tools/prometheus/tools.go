//go:build tools

// Package prometheus pins the Prometheus that tests use: promtool runs the tests of alerts, prometheus scrapes the
// installation of the end-to-end tests and answers every query of alerts and dashboard.
package prometheus

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
