// Package proof signs what the log says of a pod's addresses, so that a node's agent, which does not read that part of
// the log, can hold an annotation to it: annotations are written by whoever may write the pod.
//
//	served(pod) ⇒ ∃ event of the log's generation: addresses(pod.uid, node) = annotation(pod)
//
// A proof is a JSON Web Signature in its compact form (RFC 7515) by an Ed25519 key (RFC 8037) of a galaxy-ipam. Keys
// are public as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638), so that no key passes for another. The
// private halves never leave the process that made them.
package proof
