package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// How a condition is asked again: no test is about how fast a machine is, and one that is busy may need a while for a
// question.
const (
	shortestWait  = time.Minute
	shortestPause = 50 * time.Millisecond
	longestPause  = 2 * time.Second
)

// WaitFor waits until a condition gives nil, a minute at least. When it does not in time, the test fails with what the
// condition said last, and with the pods that do not run and what was said of them.
func (b *Cluster) WaitFor(what string, wait time.Duration, condition func(context.Context) error) {
	b.t.Helper()
	wait = max(wait, shortestWait)
	if err := b.poll(wait, condition); err != nil {
		b.t.Fatalf("%s: not after %s: %v%s", what, wait, err, b.describeWaiting(""))
	}
}

func (b *Cluster) poll(wait time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), wait)
	defer cancel()
	for last := errors.New("it was not asked once"); ; {
		start := time.Now()
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // the error of a condition that was cut short says less
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(min(max(shortestPause, 5*time.Since(start)), longestPause)):
			// the question must not slow down what it waits for
		}
	}
}

// Pods are the pods of a namespace with a label selector, both of which may be empty.
func (b *Cluster) Pods(namespace, selector string) []corev1.Pod {
	b.t.Helper()
	list, err := b.Client.CoreV1().Pods(namespace).List(b.t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		b.t.Fatalf("pods of %s: %v", namespace, err)
	}
	return list.Items
}

// WaitPodsRunning waits until just n pods match and all of them run, and gives them.
func (b *Cluster) WaitPodsRunning(namespace, selector string, n int, wait time.Duration) []corev1.Pod {
	b.t.Helper()
	var pods []corev1.Pod
	err := b.poll(wait, func(ctx context.Context) error {
		list, err := b.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		run := 0
		for i := range list.Items {
			if runs(&list.Items[i]) {
				run++
			}
		}
		if run != n || len(list.Items) != n {
			return fmt.Errorf("there are %d pods, and %d of them run", len(list.Items), run)
		}
		pods = list.Items
		return nil
	})
	if err != nil {
		b.t.Fatalf("%d running pods of %s %s: not after %s: %v%s", n, namespace, selector, wait, err,
			b.describeWaiting(namespace))
	}
	return pods
}

// WaitPodsGone waits until no pod matches.
func (b *Cluster) WaitPodsGone(namespace, selector string, wait time.Duration) {
	b.t.Helper()
	b.WaitPodsRunning(namespace, selector, 0, wait)
}

// runs reports whether a pod runs and is to stay.
func runs(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
}

// mostDescribed bounds what a failed test says of pods: they mostly wait for the same reason.
const mostDescribed = 8

// describeWaiting says of each pod that does not run why, as far as the cluster knows.
func (b *Cluster) describeWaiting(namespace string) string {
	// The context of the test may be over, and what is said here is wanted all the more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), 10*time.Second)
	defer cancel()
	list, err := b.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Sprintf("\n(the pods cannot be listed: %v)", err)
	}
	var out strings.Builder
	described := 0
	for i := range list.Items {
		p := &list.Items[i]
		if runs(p) {
			continue
		}
		if described++; described <= mostDescribed {
			b.describe(ctx, &out, p)
		}
	}
	if described > mostDescribed {
		fmt.Fprintf(&out, "\n  … and %d more", described-mostDescribed)
	}
	return out.String()
}

func (b *Cluster) describe(ctx context.Context, out *strings.Builder, p *corev1.Pod) {
	fmt.Fprintf(out, "\n  pod %s/%s is %s on node %q", p.Namespace, p.Name, p.Status.Phase, p.Spec.NodeName)
	if p.DeletionTimestamp != nil {
		fmt.Fprintf(out, ", deleted since %s", p.DeletionTimestamp.Format(time.TimeOnly))
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			fmt.Fprintf(out, "\n    %s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	selector := fields.Set{"involvedObject.name": p.Name, "involvedObject.kind": "Pod"}.String()
	events, err := b.Client.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		fmt.Fprintf(out, "\n    (its events cannot be listed: %v)", err)
		return
	}
	for _, e := range events.Items[max(0, len(events.Items)-4):] {
		fmt.Fprintf(out, "\n    event %s: %s", e.Reason, e.Message)
	}
}
