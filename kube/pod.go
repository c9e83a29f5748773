package kube

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/ipam"
	"galaxy/kube/stream"
)

// Pod is a pod as far as addresses are concerned. It never changes once made. What is kept of one is bounded: see
// Bounded.
type Pod struct {
	Namespace, Name, UID string

	ReleasePolicy string // the annotations, "" if absent
	Pool          string
	Args          string
	Proof         string // of the addresses in Args; "" too if no container requests an address

	Owner        OwnerRef // the controller, else the first owner; zero without any
	TemplateHash string   // label pod-template-hash
	Node         string   // "" until it is bound
	Phase        string
	IPs          []netip.Addr // of its status, which only a kubelet writes; nil until it runs
	HostNetwork  bool         // its addresses are those of its node
	Deleting     bool         // it has a deletion timestamp
	Wants        bool         // a regular container requests an address

	oversized int          // length of an annotation that is longer than MaxArgs, and was not kept as Args; else 0
	claimed   []netip.Addr // what that annotation says that the pod was given
}

// OwnerRef names the object that owns a pod.
type OwnerRef struct {
	APIVersion, Kind, Name string
	Controller             bool
}

// ErrPodGone means that a pod is not there any more, or that another of its name is.
var ErrPodGone = errors.New("the pod is gone")

// BoundError is a pod that runs on another node than the one it was to be bound to.
type BoundError struct{ Pod, Node string }

func (e *BoundError) Error() string {
	return "pod " + e.Pod + " is bound to node " + e.Node + " already"
}

// ParseArgs reads Args.
func (p *Pod) ParseArgs() (ipam.PodArgs, error) {
	if length := max(p.oversized, len(p.Args)); length > MaxArgs {
		return ipam.PodArgs{}, fmt.Errorf("annotation %s has %d bytes, and at most %d are read", AnnotationArgs, length,
			MaxArgs)
	}
	return ipam.ParsePodArgs(p.Args)
}

// Finished reports whether the pod has ended and never runs again.
func (p *Pod) Finished() bool { return p.Phase == PhaseSucceeded || p.Phase == PhaseFailed }

// String names the pod for people.
func (p *Pod) String() string { return p.Namespace + "/" + p.Name }

// DecodePod reads one Pod object.
func DecodePod(text []byte) (*Pod, error) {
	dec := stream.New(text)
	pod, err := ReadPod(dec)
	if err != nil {
		return nil, err
	}
	return pod, stream.End(dec)
}

// ReadPod reads the Pod object that comes next; nil for null. A pod without a name is an error, one without a namespace
// is in "default".
func ReadPod(dec *jsontext.Decoder) (*Pod, error) {
	if dec.PeekKind() == 'n' {
		return nil, stream.Skip(dec)
	}
	pod := new(Pod)
	err := stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case "metadata":
			return pod.readMetadata(dec)
		case "spec":
			return pod.readSpec(dec)
		case "status":
			return stream.Object(dec, func(name []byte) error {
				switch string(name) {
				case "phase":
					return stream.Text(dec, &pod.Phase)
				case "podIP":
					return pod.readIP(dec)
				case "podIPs":
					return stream.Array(dec, func() error {
						return stream.Object(dec, func(name []byte) error {
							if string(name) == "ip" {
								return pod.readIP(dec)
							}
							return stream.Skip(dec)
						})
					})
				}
				return stream.Skip(dec)
			})
		}
		return stream.Skip(dec)
	})
	if err != nil {
		return nil, err
	}
	if pod.Name == "" {
		return nil, fmt.Errorf("metadata.name is missing")
	}
	if pod.Namespace == "" {
		pod.Namespace = "default"
	}
	return pod.Bounded(), nil
}

func (p *Pod) readIP(dec *jsontext.Decoder) error {
	var text string
	err := stream.Text(dec, &text)
	p.AddIP(text)
	return err
}

// AddIP notes an address of the pod's status; text that is no address is passed over. Of too many one more is kept than
// there may be, so that the pod is refused for them.
func (p *Pod) AddIP(text string) {
	if len(p.IPs) > MaxPodIPs {
		return
	}
	if addr, err := ipam.ParseAddr(text); err == nil && !slices.Contains(p.IPs, addr) {
		p.IPs = append(p.IPs, addr)
	}
}

func (p *Pod) readMetadata(dec *jsontext.Decoder) error {
	return stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case "namespace":
			return stream.Text(dec, &p.Namespace)
		case "name":
			return stream.Text(dec, &p.Name)
		case "uid":
			return stream.Text(dec, &p.UID)
		case "deletionTimestamp":
			p.Deleting = dec.PeekKind() == '"'
			return stream.Skip(dec)
		case "annotations":
			return p.readAnnotations(dec)
		case "labels":
			return stream.Object(dec, func(name []byte) error {
				if string(name) == LabelTemplateHash {
					return stream.Text(dec, &p.TemplateHash)
				}
				return stream.Skip(dec)
			})
		case "ownerReferences":
			return p.readOwners(dec)
		}
		return stream.Skip(dec)
	})
}

func (p *Pod) readAnnotations(dec *jsontext.Decoder) error {
	return stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case AnnotationReleasePolicy:
			return stream.Text(dec, &p.ReleasePolicy)
		case AnnotationPool:
			return stream.Text(dec, &p.Pool)
		case AnnotationArgs:
			return stream.Text(dec, &p.Args)
		case AnnotationProof:
			return stream.Text(dec, &p.Proof)
		}
		return stream.Skip(dec)
	})
}

func (p *Pod) readOwners(dec *jsontext.Decoder) error {
	first := true
	return stream.Array(dec, func() error {
		var ref OwnerRef
		err := stream.Object(dec, func(name []byte) error {
			switch string(name) {
			case "apiVersion":
				return stream.Text(dec, &ref.APIVersion)
			case "kind":
				return stream.Text(dec, &ref.Kind)
			case "name":
				return stream.Text(dec, &ref.Name)
			case "controller":
				return stream.Bool(dec, &ref.Controller)
			}
			return stream.Skip(dec)
		})
		if first || ref.Controller && !p.Owner.Controller {
			p.Owner, first = ref, false
		}
		return err
	})
}

func (p *Pod) readSpec(dec *jsontext.Decoder) error {
	return stream.Object(dec, func(name []byte) error {
		switch string(name) {
		case "nodeName":
			return stream.Text(dec, &p.Node)
		case "hostNetwork":
			return stream.Bool(dec, &p.HostNetwork)
		case "containers":
			return stream.Array(dec, func() error { return p.readContainer(dec) })
		}
		return stream.Skip(dec)
	})
}

func (p *Pod) readContainer(dec *jsontext.Decoder) error {
	return stream.Object(dec, func(name []byte) error {
		if string(name) != "resources" {
			return stream.Skip(dec)
		}
		return stream.Object(dec, func(name []byte) error {
			if string(name) != "requests" {
				return stream.Skip(dec)
			}
			return stream.Object(dec, func(name []byte) error {
				p.Wants = p.Wants || string(name) == ResourceIP
				return stream.Skip(dec)
			})
		})
	})
}
