package galaxyv1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of the resources.
var GroupVersion = schema.GroupVersion{Group: "galaxy.k8s.io", Version: "v1alpha1"}

// The resources, as clients ask for them.
var (
	FloatingIPs = GroupVersion.WithResource("floatingips")
	Pools       = GroupVersion.WithResource("pools")
)

// FloatingIP shows one held address; its name is the address. It is written by galaxy-ipam: what is edited is put back,
// and what is deleted is made again. The one exception is an administrator's reservation, an object with the label
// "reserved".
//
// +kubebuilder:object:root=true +kubebuilder:resource:scope=Cluster,singular=floatingip,shortName=fip
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved, part of the Galaxy project"
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.key`,description="whom the address is held for"
// +kubebuilder:printcolumn:name="Policy",type=integer,JSONPath=`.spec.policy`,description="0: given back with the pod,
// 1: with the workload, 2: never by itself" +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.spec.state`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Updated",type=date,JSONPath=`.spec.updateTime`
// +kubebuilder:printcolumn:name="Event",type=integer,JSONPath=`.spec.seq`,priority=1,description="the newest event
// about the address in the log"
// +kubebuilder:printcolumn:name="Attribute",type=string,JSONPath=`.spec.attribute`,priority=1,description="node and uid
// of the pod that uses the address" +kubebuilder:selectablefield:JSONPath=`.spec.node`
// +kubebuilder:selectablefield:JSONPath=`.spec.state` +kubebuilder:selectablefield:JSONPath=`.spec.key`
type FloatingIP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FloatingIPSpec `json:"spec"`
}

// FloatingIPSpec is whom an address is held for.
type FloatingIPSpec struct {
	// Key is the owner: of a pod, of an app or of a pool.
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key"`
	// Attribute is JSON text with NodeName and Uid of the pod that uses the address.
	// +optional
	Attribute string `json:"attribute,omitempty"`
	// Policy says when the address is given back: 0 with the pod, 1 with the workload, 2 never by itself.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	// +optional
	Policy int32 `json:"policy"`
	// UpdateTime is when the newest event about the address happened.
	// +optional
	UpdateTime *metav1.Time `json:"updateTime,omitempty"`
	// Subnet stands in objects of older releases.
	// +optional
	Subnet string `json:"subnet,omitempty"`
	// State of the address: bound, claimed, reserved or draining.
	// +optional
	State string `json:"state,omitempty"`
	// Node on which the address is in use.
	// +optional
	Node string `json:"node,omitempty"`
	// Seq is the newest event about the address in the log.
	// +optional
	Seq int64 `json:"seq,omitempty"`
}

// FloatingIPList is a list of FloatingIP objects.
//
// +kubebuilder:object:root=true
type FloatingIPList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []FloatingIP `json:"items"`
}

// Pool bounds how many addresses the pods that name it hold together. Its name counts, in whatever namespace it is; of
// several of one name that in kube-system wins, and then the oldest.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,singular=pool,shortName=fippool
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved, part of the Galaxy project"
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.size`
// +kubebuilder:printcolumn:name="Held",type=integer,JSONPath=`.status.held`
// +kubebuilder:printcolumn:name="Used",type=integer,JSONPath=`.status.used`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Pool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Size is how many addresses the pool may hold.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Size int32 `json:"size"`
	// PreAllocateIP reserves the addresses at once.
	// +optional
	PreAllocateIP bool `json:"preAllocateIP,omitempty"`

	// +optional
	Status PoolStatus `json:"status,omitempty"`
}

// PoolStatus is what the log says of the pool. Where the size above differs from the size here, somebody has edited the
// object.
type PoolStatus struct {
	// Size that is in force.
	// +optional
	Size *int32 `json:"size,omitempty"`
	// PreAllocateIP that is in force.
	// +optional
	PreAllocateIP bool `json:"preAllocateIP,omitempty"`
	// Held addresses, those that wait for a pod included.
	// +optional
	Held int32 `json:"held"`
	// Used by pods.
	// +optional
	Used int32 `json:"used"`
}

// PoolList is a list of Pool objects.
//
// +kubebuilder:object:root=true
type PoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Pool `json:"items"`
}
