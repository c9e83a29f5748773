// Package reconciler turns the difference between the cluster's objects and the log into commands: pods that are gone,
// workloads that have become smaller, pools, and the configuration of subnets. What to do is a pure function, Decide;
// the loop around it only waits, calls and reports.
package reconciler
