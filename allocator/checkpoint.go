package allocator

import "galaxy/projections"

// checkpointEvery is the distance of checkpoints: sequence numbers at which every replica, the leader too, has a view
// of just that state, so that they can be compared.
const checkpointEvery = 1024

// crosses reports whether events from after one sequence number to another go beyond a checkpoint.
func crosses(after, last uint64) bool {
	return after/checkpointEvery != last/checkpointEvery && last%checkpointEvery != 0
}

// checkpoint hands the view to whoever compares, if it is one to be compared. How often depends on how much there is in
// it, so that the cost of an event stays the same; all replicas reckon alike, as they reckon with the same state.
func (r *Replica) checkpoint(view *projections.View) {
	seq := view.Position().Head.Seq
	if r.config.Checkpoint == nil || seq == 0 || seq%checkpointEvery != 0 {
		return
	}
	step := uint64(checkpointEvery)
	for held := view.HeldCount(); step < held; {
		step *= 2
	}
	if seq%step == 0 {
		r.config.Checkpoint(view)
	}
}
