package plugins

import "context"

type evidenceKey struct{}

// WithEvidence marks what is done with ctx as undoing what a container has left that is gone, where no runtime has asked
// for it. The evidence says how that is known; an IPAM that keeps a history writes it down.
func WithEvidence(ctx context.Context, evidence string) context.Context {
	return context.WithValue(ctx, evidenceKey{}, evidence)
}

// Evidence is what WithEvidence was given; empty for what a runtime has asked for.
func Evidence(ctx context.Context) string {
	evidence, _ := ctx.Value(evidenceKey{}).(string)
	return evidence
}
