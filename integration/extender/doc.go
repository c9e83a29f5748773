// Package extender proves that the rooms of the extender fit together: both ports over replicas of which one leads.
package extender
