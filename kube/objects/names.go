package objects

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"

	"galaxy/ipam"
	"galaxy/kube"
	"galaxy/kube/galaxyv1alpha1"
)

// checkNames fails for an object whose kind, namespace or name no API server would take. What has such a name is no
// copy of a cluster: nothing that the scheduler asks about, or that stands in the log, would ever be found under it.
func (h head) checkNames() error {
	if errs := validation.IsDNS1035Label(strings.ToLower(h.Kind)); len(errs) > 0 {
		return misnamed("kind", h.Kind, errs, "write the kind as kubectl shows it")
	}
	if at := h.Metadata.Namespace; at != "" {
		if errs := validation.IsDNS1123Label(at); len(errs) > 0 {
			return misnamed("metadata.namespace", at, errs, "write the name of the namespace that the object is in")
		}
	}
	name := h.Metadata.Name
	if name == "" {
		return fmt.Errorf("metadata.name is missing")
	}
	if errs := h.nameErrors(name); len(errs) > 0 {
		return misnamed("metadata.name", name, errs, "write the name as kubectl get shows it")
	}
	return nil
}

// nameErrors says what is wrong with the name of an object. Only some kinds have the strict form of names: that of a
// ClusterRole may be system:node.
func (h head) nameErrors(name string) []string {
	switch {
	case h.isCustom("FloatingIP"):
		if _, ok := galaxyv1alpha1.AddressOf(name); !ok {
			return []string{"a FloatingIP is named after its address, as 10.0.0.2 or " +
				"2001-0db8-0000-0000-0000-0000-0000-0002"}
		}
		return validation.IsDNS1123Subdomain(name)
	case slices.Contains(spelt, h.Kind):
		return validation.IsDNS1123Subdomain(name)
	case len(name) > ipam.MaxName:
		return []string{validation.MaxLenError(ipam.MaxName)}
	default:
		return content.IsPathSegmentName(name)
	}
}

// isCustom reports whether the object is one of our custom resources (contract section 6), of a kind.
func (h head) isCustom(kind string) bool {
	group, _, _ := strings.Cut(h.APIVersion, "/")
	return h.Kind == kind && (h.APIVersion == "" || group == galaxyv1alpha1.GroupVersion.Group)
}

func misnamed(at, name string, errs []string, repair string) error {
	return fmt.Errorf("%s: no API server takes %s: %s; %s", at, quoted(name), strings.Join(errs, ", and "), repair)
}

// checkIdentity fails for a pod that the code could not tell from others. One that asks for addresses is known by its
// uid: without, it would pass for a later pod of its name, and what it runs with would be given back.
func (s *Set) checkIdentity(pod *kube.Pod) error {
	if pod.UID == "" && pod.Wants {
		return fmt.Errorf("metadata.uid is missing, and a pod that asks for addresses is known by it; " +
			"write the uid that kubectl get -o yaml shows")
	}
	if s.Pod(pod.Namespace, pod.Name) != nil {
		return fmt.Errorf("the same pod stands earlier in the file; leave one of them out")
	}
	if other := s.PodByUID(pod.UID); pod.UID != "" && other != nil {
		return fmt.Errorf("metadata.uid: the pod %s, which stands earlier in the file, has the same uid; "+
			"write those that kubectl get -o yaml shows", other)
	}
	if pod.Node != "" {
		if errs := validation.IsDNS1123Subdomain(pod.Node); len(errs) > 0 {
			return misnamed("spec.nodeName", pod.Node, errs, "write the name of the node that the pod is on")
		}
	}
	return nil
}

// mostQuoted is how many bytes of a wrong name an error shows: enough to find it in the file.
const mostQuoted = 64

// quoted is a wrong name for people.
func quoted(name string) string {
	if len(name) > mostQuoted {
		return fmt.Sprintf("%q...", name[:mostQuoted])
	}
	return fmt.Sprintf("%q", name)
}
