// Package objects is a cluster in a file: Kubernetes objects as kubectl prints them, YAML or JSON, many documents or
// lists. A Set is what one reading of the file said; a Store holds the newest good Set and notifies who asked when it
// changes.
package objects
