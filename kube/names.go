package kube

// Names that users write on their objects (contract section 2).
const (
	AnnotationNetworks      = "k8s.v1.cni.cncf.io/networks"
	AnnotationReleasePolicy = "k8s.v1.cni.galaxy.io/release-policy"
	AnnotationArgs          = "k8s.v1.cni.galaxy.io/args"
	AnnotationPool          = "tke.cloud.tencent.com/eni-ip-pool"
	// AnnotationProof is what galaxy-ipam has signed of the addresses in AnnotationArgs; see the package proof.
	AnnotationProof       = "k8s.v1.cni.galaxy.io/proof"
	AnnotationPortMapping = "tkestack.io/portmapping"

	// AnnotationMasquerade on a pod, true or false, says whether what it sends to outside addresses leaves with its
	// node's address.
	AnnotationMasquerade = "k8s.v1.cni.galaxy.io/masquerade"

	// ResourceIP in the requests of a regular container says that the pod wants addresses. Its quantity means nothing.
	ResourceIP = "tke.cloud.tencent.com/eni-ip"

	// AnnotationRollout on a Deployment that keeps its addresses says how it rolls out: with RolloutStrict a new pod
	// waits until an old one has given its address back, even if that never happens while maxUnavailable is 0.
	AnnotationRollout = "k8s.v1.cni.galaxy.io/rollout"
	RolloutStrict     = "strict"

	// TaintOutOfService on a node says that it is shut down for good: its pods may be taken as ended.
	TaintOutOfService = "node.kubernetes.io/out-of-service"

	// LabelReserved on a FloatingIP object is an administrator's reservation.
	LabelReserved = "reserved"
	// LabelTemplateHash distinguishes a ReplicaSet that a Deployment has made from a bare one.
	LabelTemplateHash = "pod-template-hash"
)

// The phases in which a pod has finished: it never runs again.
const (
	PhaseSucceeded = "Succeeded"
	PhaseFailed    = "Failed"
)
