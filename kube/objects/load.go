package objects

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"strings"
	"time"

	"galaxy/allocator"
	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/stream"
)

// Load reads a file of objects. An error names the document, the object and the field.
func Load(path string) (*Set, error) {
	text, at, err := readFile(path)
	if err != nil {
		return nil, err
	}
	set, err := Parse(text, at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

func readFile(path string) (text []byte, modified time.Time, err error) {
	text, err = os.ReadFile(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	return text, info.ModTime(), nil
}

// Parse reads a stream of objects that describe the cluster as of a moment.
func Parse(text []byte, asOf time.Time) (*Set, error) {
	set := newSet()
	set.asOf = asOf
	err := eachDocument(text, func(d document) error {
		if err := set.add(d.json, true); err != nil {
			return fmt.Errorf("document %d%w", d.number, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// head is what all objects have.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// String names the object for people.
func (h head) String() string {
	name := h.Metadata.Name
	if h.Metadata.Namespace != "" {
		name = h.Metadata.Namespace + "/" + name
	}
	text := strings.TrimSpace(h.Kind + " " + name)
	if ipam.CheckName(text) != nil { // it is no name, and not fit for a line
		return quoted(text)
	}
	return text
}

// add takes an object, or where it may be one a list of them. Its errors start where the sentence "document <n>" ends.
func (s *Set) add(object []byte, mayBeList bool) error {
	var h head
	if err := json.Unmarshal(object, &h); err != nil {
		return fmt.Errorf(": %w", stream.Describe(err))
	}
	if h.Kind == "" {
		return fmt.Errorf(": kind is missing; write it as kubectl shows it, as kind: Pod")
	}
	if itemKind, isList := strings.CutSuffix(h.Kind, "List"); isList && mayBeList {
		return s.addList(object, itemKind)
	}
	if err := s.addObject(h, object); err != nil {
		return fmt.Errorf(", %s: %w", h, stream.Describe(err))
	}
	s.count++
	return nil
}

func (s *Set) addList(object []byte, itemKind string) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(object, &list); err != nil {
		return fmt.Errorf(", %sList: %w", itemKind, stream.Describe(err))
	}
	if itemKind == "Pod" {
		s.knowsPods = true // an empty list of pods also says something
		s.count++
	}
	for i, item := range list.Items {
		if itemKind != "" {
			item = withKind(item, itemKind)
		}
		if err := s.add(item, false); err != nil {
			return fmt.Errorf(", items[%d]%w", i, err)
		}
	}
	return nil
}

// withKind gives an item of a typed list its kind, which the API server leaves out there.
func withKind(item json.RawMessage, kind string) json.RawMessage {
	var h head
	if json.Unmarshal(item, &h) != nil || h.Kind != "" {
		return item
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(item, &members) != nil || members == nil {
		return item
	}
	members["kind"], _ = json.Marshal(kind)
	named, err := json.Marshal(members)
	if err != nil {
		return item
	}
	return named
}

// spelt are the kinds that mean something here of themselves; others are workloads that somebody has made up.
var spelt = []string{"Pod", "Node", "ConfigMap", "Pool", "Deployment", "StatefulSet", "ReplicaSet"}

func (s *Set) addObject(h head, object []byte) error {
	for _, kind := range spelt {
		if h.Kind != kind && strings.EqualFold(h.Kind, kind) {
			return fmt.Errorf("kind %q: want %s", h.Kind, kind)
		}
	}
	if err := h.checkNames(); err != nil {
		return err
	}
	switch {
	case h.Kind == "Pod":
		return s.addPod(object)
	case h.Kind == "Node":
		return s.addNode(object)
	case h.Kind == "ConfigMap":
		return s.addConfigMap(h, object)
	case h.isCustom("Pool"):
		return s.addPool(h, object)
	default:
		return s.addWorkload(h, object)
	}
}

func (s *Set) addPod(object []byte) error {
	s.knowsPods = true
	pod, err := kube.DecodePod(object)
	if err != nil {
		return err
	}
	if _, err := kube.OwnerOf(pod); err != nil {
		return err
	}
	if err := s.checkIdentity(pod); err != nil {
		return err
	}
	s.pods, _, _ = s.pods.Insert(podKey(pod.Namespace, pod.Name), pod)
	shown := s.shown.Txn()
	showing(shown, nil, pod)
	s.shown = shown.Commit()
	if pod.UID != "" {
		s.podByUID, _, _ = s.podByUID.Insert([]byte(pod.UID), pod)
	}
	return nil
}

func (s *Set) addNode(object []byte) error {
	node, err := kube.DecodeNode(object)
	if err != nil {
		return err
	}
	if s.nodes[node.Name] != nil {
		return fmt.Errorf("the same node stands earlier in the file; leave one of them out")
	}
	s.nodes[node.Name] = node
	return nil
}

func (s *Set) addConfigMap(h head, object []byte) error {
	var body struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal(object, &body); err != nil {
		return err
	}
	s.configMaps[string(podKey(namespaceOf(h), h.Metadata.Name))] = ConfigOf(body.Data, body.Metadata.Annotations)
	return nil
}

// ConfigOf is the data of a ConfigMap, and beside it those of its annotations that are ours: keys of data have no
// slash.
func ConfigOf(data, annotations map[string]string) map[string]string {
	config := maps.Clone(data)
	if config == nil {
		config = map[string]string{}
	}
	for key, value := range annotations {
		if strings.HasPrefix(key, "galaxy.k8s.io/") {
			config[key] = value
		}
	}
	return config
}

func (s *Set) addPool(h head, object []byte) error {
	var body struct {
		Size        *int64 `json:"size"`
		PreAllocate bool   `json:"preAllocateIP"`
	}
	if err := json.Unmarshal(object, &body); err != nil {
		return err
	}
	if body.Size == nil || *body.Size < 0 || *body.Size > allocator.MaxPoolSize {
		return fmt.Errorf("size: want a number of addresses from 0 to %d", allocator.MaxPoolSize)
	}
	if _, twice := s.pools[h.Metadata.Name]; twice {
		return fmt.Errorf("the same pool stands earlier in the file; leave one of them out")
	}
	s.pools[h.Metadata.Name] = Pool{Name: h.Metadata.Name, Size: int(*body.Size), PreAllocate: body.PreAllocate}
	return nil
}

// addWorkload takes any other object: it may own pods, and if it has spec.replicas it scales.
func (s *Set) addWorkload(h head, object []byte) error {
	var body struct {
		Spec struct {
			Replicas *int64 `json:"replicas"`
			Ordinals struct {
				Start int64 `json:"start"`
			} `json:"ordinals"`
		} `json:"spec"`
	}
	owner := ipam.Owner{Kind: strings.ToLower(h.Kind), Namespace: namespaceOf(h), App: h.Metadata.Name}
	builtin := owner.IsSet() || owner.Kind == ipam.KindStatefulSet
	if err := json.Unmarshal(object, &body); err != nil {
		if !builtin { // some other object whose spec has another form; it cannot be scaled as we understand it
			s.putWorkload(owner, allocator.Workload{Exists: true})
			return nil
		}
		return err
	}
	w := allocator.Workload{Exists: true, Scales: builtin || body.Spec.Replicas != nil,
		Start: int(body.Spec.Ordinals.Start)}
	if w.Start < 0 || body.Spec.Ordinals.Start > math.MaxInt32 {
		return fmt.Errorf("spec.ordinals.start: %d is out of range", body.Spec.Ordinals.Start)
	}
	if replicas := body.Spec.Replicas; replicas == nil && w.Scales {
		w.Replicas = 1 // the API server's default
	} else if replicas != nil {
		if *replicas < 0 || *replicas > math.MaxInt32 {
			return fmt.Errorf("spec.replicas: %d is out of range", *replicas)
		}
		w.Replicas = int(*replicas)
	}
	s.putWorkload(owner, w)
	return nil
}

func (s *Set) putWorkload(owner ipam.Owner, w allocator.Workload) {
	s.workloads, _, _ = s.workloads.Insert(appKey(owner), app{owner, w})
}

func namespaceOf(h head) string {
	if h.Metadata.Namespace == "" {
		return "default"
	}
	return h.Metadata.Namespace
}
