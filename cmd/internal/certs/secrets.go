package certs

import (
	"bytes"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The Secrets that the manifests in deploy/ name, of the type kubernetes.io/tls with a ca.crt, as other issuers make
// them, too.
const (
	IPAMSecret    = "galaxy-ipam-tls"
	MembersSecret = "galaxy-ipam-members-tls"
)

// Secrets are the manifests of the Secrets for a folder's certificates. The authorities' keys are not in them.
func Secrets(dir, namespace string) ([]byte, error) {
	var all [][]byte
	for _, s := range []struct{ secret, ca, cert string }{{IPAMSecret, CA, IPAM}, {MembersSecret, MembersCA, Members}} {
		secret := corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: s.secret, Namespace: namespace},
			Type:       corev1.SecretTypeTLS, Data: map[string][]byte{},
		}
		for key, file := range map[string]string{"ca.crt": s.ca + ".crt", corev1.TLSCertKey: s.cert + ".crt",
			corev1.TLSPrivateKeyKey: s.cert + ".key"} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return nil, err
			}
			secret.Data[key] = text
		}
		text, err := yaml.Marshal(secret)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return bytes.Join(all, []byte("---\n")), nil
}
