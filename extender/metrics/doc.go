// Package metrics holds the figures that Prometheus scrapes: those that others report, and those that are read from a
// replica at each scrape.
package metrics
