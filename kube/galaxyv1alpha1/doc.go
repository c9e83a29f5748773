// Package galaxyv1alpha1 has the custom resources galaxy.k8s.io/v1alpha1 (contract section 6), as kubectl users see
// them.
//
// +kubebuilder:object:generate=true
// +groupName=galaxy.k8s.io
// +versionName=v1alpha1
package galaxyv1alpha1
