package proof

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"

	"galaxy/ipam"
)

// Reason is why a proof is refused, in one word, for metrics.
type Reason string

// The reasons.
const (
	Missing    Reason = "missing"    // there is none: the pod was not bound by galaxy-ipam
	Malformed  Reason = "malformed"  // it is no proof
	UnknownKey Reason = "unknownKey" // its key is not known: it is too new, or taken away
	Forged     Reason = "forged"     // it is not signed by the key that it names
	Copied     Reason = "copied"     // it is another pod's, or for another node
	Stale      Reason = "stale"      // it is of another generation of the log
	Edited     Reason = "edited"     // the pod shows other addresses than were signed
)

// Refusal is a proof that proves nothing.
type Refusal struct {
	Reason Reason
	why    string
}

func (r *Refusal) Error() string { return r.why }

func refuse(reason Reason, format string, values ...any) error {
	return &Refusal{Reason: reason, why: fmt.Sprintf(format, values...)}
}

// Ring is the public keys that are in force, by their names.
type Ring map[string]ed25519.PublicKey

// Claim is what a pod's annotations say, and where that is to be true.
type Claim struct {
	Proof      string        // the text of the proof
	IPs        []ipam.IPInfo // the addresses that the pod shows
	PodUID     string        // as the API server has it
	Node       string
	Generation string // of the log, as this node knows it
}

// Verify returns the binding that proves a claim. Any other claim is a *Refusal whose text says what is wrong and what
// repairs it.
func (r Ring) Verify(c Claim) (Binding, error) {
	b, err := r.open(c.Proof)
	if err != nil {
		return Binding{}, err
	}
	switch {
	case b.PodUID != c.PodUID:
		return Binding{}, refuse(Copied, "the proof of its addresses was copied: it is that of the pod with the uid %s, "+
			"and this one has %s", b.PodUID, c.PodUID)
	case b.Node != c.Node:
		return Binding{}, refuse(Copied, "the proof of its addresses is for node %s, and this is %s", b.Node, c.Node)
	case b.Generation != c.Generation:
		return Binding{}, refuse(Stale, "the proof of its addresses is stale: it is of generation %s of the log, which "+
			"is %s by now; galaxy-ipam signs it anew within a minute", b.Generation, c.Generation)
	case !slices.Equal(b.IPs, c.IPs):
		return Binding{}, refuse(Edited, "its addresses were edited: galaxy-ipam has signed %s, and the annotation says "+
			"%s", list(b.IPs), list(c.IPs))
	}
	return b, nil
}

// open verifies the signature of a proof.
func (r Ring) open(text string) (Binding, error) {
	if text == "" {
		return Binding{}, refuse(Missing, "there is no proof of its addresses: it was not bound by galaxy-ipam, or by a "+
			"release of it that signs none")
	}
	signed, header, err := parse(text)
	if err != nil {
		return Binding{}, refuse(Malformed, "the proof of its addresses cannot be read: %v", err)
	}
	key, known := r[header.KeyID]
	if !known {
		return Binding{}, refuse(UnknownKey, "the proof of its addresses is signed by the key %.64q, which galaxy-ipam "+
			"does not have: it was forged, or the key was taken away", header.KeyID)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return Binding{}, refuse(Forged, "the proof of its addresses was edited: its signature is not by the key %s that "+
			"it names", header.KeyID)
	}
	b, err := decode(payload)
	if err != nil {
		return Binding{}, refuse(Malformed, "the proof of its addresses cannot be read: %v", err)
	}
	return b, nil
}

func list(infos []ipam.IPInfo) string {
	if len(infos) == 0 {
		return "none"
	}
	texts := make([]string, len(infos))
	for i, info := range infos {
		texts[i] = fmt.Sprintf("%s by %s, VLAN %d", info.IP, info.Gateway, info.VLAN)
	}
	return strings.Join(texts, ", ")
}
