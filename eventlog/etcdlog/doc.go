// Package etcdlog is the event log on etcd. It knows bytes, sequence numbers and hashes, never what an event means.
//
// Its keys, under a prefix "/galaxy" by default, all readable with etcdctl:
//
//	<prefix>/v1/generation                              {"id":…,"created":…}, and "restoredFrom" after a restore
//	<prefix>/v1/head/<stream>                           {"seq":…,"hash":…,"generation":…}
//	<prefix>/v1/log/<stream>/<seq, 20 digits>           the bytes of one event
//	<prefix>/v1/snapshot/<stream>/<seq>/<id>-<part>     zstd, each part under 1 MiB
//	<prefix>/v1/snapshot/<stream>/<seq>/manifest        written last
//	<prefix>/v1/restoring                               only while a restore is under way
//
// One append is one transaction. Its conditions are the stream's head as the writer has seen it, the generation of the
// log, and the writer's key of the election: so a second writer can lose but never harm. Since none of these ever comes
// back once it has passed, the transaction lands at most once however often it is sent. One whose response was lost is
// simply sent again: either it lands now, or it is refused, and the event in its place shows who was there.
package etcdlog
