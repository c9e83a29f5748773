// Package review asks the API server who the bearer of a token is, and whether that user may do something.
package review
