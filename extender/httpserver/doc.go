// Package httpserver is what every port needs, whatever it serves: connections and their limits, TLS, bodies, health
// checks, and the form of failures. It knows no path but those of the health checks.
package httpserver
