// Package archive keeps logs outside etcd: it writes a whole log to a backup, reads and verifies backups, and restores
// them.
//
// A backup is a zstd stream of lines:
//
//	{"format":"galaxy-log-backup","version":1,"generation":…,"revision":…,"time":…,"streams":[{"name":…,"seq":…,"hash":…}]}
//	{"stream":"ipam","events":2}
//	…the stored bytes of event 1, exactly…
//	…the stored bytes of event 2, exactly…
//	{"stream":"nodes","events":1}
//	…
//	{"sha256":…}
//
// The first line names all streams, in the order in which they follow, with their heads. The last is the SHA-256 of all
// lines before it, so that a file that was cut short or damaged is noticed, whatever the damage. A reader needs zstd, a
// JSON parser and sha256sum.
package archive
