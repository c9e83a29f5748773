package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"galaxy/durable"
)

// setPod changes what the cluster's objects say of a pod: the one of a recorded filter request, on a node, in a phase.
func (s *stage) setPod(filter []byte, node, phase string) error {
	var recorded struct{ Pod map[string]any }
	if err := json.Unmarshal(filter, &recorded); err != nil {
		return err
	}
	pod := recorded.Pod
	metadata, okMeta := pod["metadata"].(map[string]any)
	spec, okSpec := pod["spec"].(map[string]any)
	if !okMeta || !okSpec {
		return errors.New("the recorded request has no whole pod")
	}
	pod["apiVersion"], pod["kind"] = "v1", "Pod"
	spec["nodeName"] = node
	pod["status"] = map[string]any{"phase": phase}
	text, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	s.pods[fmt.Sprint(metadata["name"])] = text
	return s.writeCluster()
}

// writeCluster replaces the file of objects in one step, as galaxy-ipam may read it at any moment.
func (s *stage) writeCluster() error {
	text, err := story.ReadFile("story/cluster.yaml")
	if err != nil {
		return err
	}
	all := bytes.NewBuffer(text)
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		fmt.Fprintf(all, "---\n%s\n", s.pods[name]) // JSON is YAML
	}
	return durable.WriteFile(s.path("cluster.yaml"), all.Bytes(), 0o600)
}
