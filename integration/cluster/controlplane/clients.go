package controlplane

import (
	"fmt"
	"os"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// makeClients makes the test's own clients.
func (b *Cluster) makeClients() error {
	b.RESTConfig = &rest.Config{
		Host: b.APIServerURL, BearerToken: b.tokens[Admin], TLSClientConfig: rest.TLSClientConfig{CAData: b.pki.ca},
		QPS: -1,
	}
	typed, err := clientOf(b.RESTConfig)
	if err != nil {
		return err
	}
	b.Client = typed
	b.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	if b.Dynamic, err = dynamic.NewForConfig(b.RESTConfig); err != nil {
		return fmt.Errorf("dynamic client: %w", err)
	}
	return nil
}

// clientOf is a client that speaks the quicker encoding.
func clientOf(config *rest.Config) (*kubernetes.Clientset, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return client, nil
}

// ClientFor is a client with the rights of a kubeconfig.
func (b *Cluster) ClientFor(kubeconfig string) kubernetes.Interface {
	b.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		b.t.Fatalf("%s: %v", kubeconfig, err)
	}
	config.QPS = -1
	client, err := clientOf(config)
	if err != nil {
		b.t.Fatal(err)
	}
	return client
}

// Kubeconfig is the path of a kubeconfig for a user of the cluster, such as Admin.
func (b *Cluster) Kubeconfig(user string) string {
	b.t.Helper()
	path, err := b.kubeconfig(user)
	if err != nil {
		b.t.Fatal(err)
	}
	return path
}

// ServiceAccountKubeconfig is the path of a kubeconfig with a fresh token of a service account, which must be there.
// Its holder has the rights that RBAC gives to the account, and no others.
func (b *Cluster) ServiceAccountKubeconfig(namespace, name string) string {
	b.t.Helper()
	return b.tokenKubeconfig(namespace, name, namespace+"."+name, nil)
}

// PodKubeconfig is ServiceAccountKubeconfig with a token as a kubelet mounts it into a pod: it names the pod and its
// node.
func (b *Cluster) PodKubeconfig(name string, pod *corev1.Pod) string {
	b.t.Helper()
	return b.tokenKubeconfig(pod.Namespace, name, pod.Namespace+"."+name+"."+pod.Name,
		&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID})
}

func (b *Cluster) tokenKubeconfig(namespace, name, file string, of *authenticationv1.BoundObjectReference) string {
	b.t.Helper()
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day,
		BoundObjectRef: of}}
	response, err := b.Client.CoreV1().ServiceAccounts(namespace).CreateToken(b.t.Context(), name, request,
		metav1.CreateOptions{})
	if err != nil {
		b.t.Fatalf("token of the service account %s/%s: %v", namespace, name, err)
	}
	path, err := b.writeKubeconfig(file, response.Status.Token, b.APIServerURL)
	if err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *Cluster) kubeconfig(user string) (string, error) {
	token, ok := b.tokens[user]
	if !ok {
		return "", fmt.Errorf("kubeconfig: there is no user %q", user)
	}
	return b.writeKubeconfig(user, token, b.APIServerURL)
}

// KubeconfigAt is Kubeconfig for a program that reaches the API server at another URL, whose host is among
// Options.ServerAddresses.
func (b *Cluster) KubeconfigAt(user, url string) string {
	b.t.Helper()
	path, err := b.writeKubeconfig(user, b.tokens[user], url)
	if err != nil {
		b.t.Fatal(err)
	}
	return path
}

// writeKubeconfig renames the file into its place, since a process may be reading the one before.
func (b *Cluster) writeKubeconfig(user, token, url string) (string, error) {
	config := api.NewConfig()
	config.Clusters["galaxy-test"] = &api.Cluster{Server: url, CertificateAuthorityData: b.pki.ca}
	config.AuthInfos[user] = &api.AuthInfo{Token: token}
	config.Contexts["galaxy-test"] = &api.Context{Cluster: "galaxy-test", AuthInfo: user}
	config.CurrentContext = "galaxy-test"
	path := b.path("kubeconfig." + strings.ReplaceAll(user, ":", "."))
	if url != b.APIServerURL {
		path += ".elsewhere"
	}
	if err := clientcmd.WriteToFile(*config, path+".new"); err != nil {
		return "", fmt.Errorf("kubeconfig: %w", err)
	}
	return path, os.Rename(path+".new", path)
}
