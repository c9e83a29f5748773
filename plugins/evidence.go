package plugins

import "context"

type proofKey struct{}

// WithProof marks what is done with ctx as undoing what a container has left that is gone, where no runtime has asked
// for it. The proof says how that is known; an IPAM that keeps a history writes it down.
func WithProof(ctx context.Context, proof string) context.Context {
	return context.WithValue(ctx, proofKey{}, proof)
}

// Proof is what WithProof was given; empty for what a runtime has asked for.
func Proof(ctx context.Context) string {
	proof, _ := ctx.Value(proofKey{}).(string)
	return proof
}
