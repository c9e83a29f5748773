package controlplane

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"galaxy/integration/cluster/binaries"
)

// readiness is nil once a program is ready, and says why it is not before.
type readiness = func(context.Context) error

// Users of the cluster with a token, and their groups. Only the scheduler has no more rights than it has everywhere;
// the controllers would each need an account, and kwok is no part of what is tested.
const (
	Admin         = "admin"
	schedulerUser = "system:kube-scheduler"
	managerUser   = "system:kube-controller-manager"
	kwokUser      = "kwok"
)

var groups = map[string]string{Admin: "system:masters", managerUser: "system:masters", kwokUser: "system:masters",
	schedulerUser: "system:authenticated"}

// addAPIServer adds the API server, with the tokens that it knows.
func (b *Cluster) addAPIServer() error {
	var port int
	if err := takePorts(&port); err != nil {
		return err
	}
	b.APIServerURL = "https://" + local(port)
	if err := b.writeTokens(); err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=" + b.etcdURL, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + b.pki.certFile, "--tls-private-key-file=" + b.pki.keyFile, "--client-ca-file=" +
			b.pki.caFile,
		"--token-auth-file=" + b.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + b.pki.accountPub, "--service-account-signing-key-file=" + b.pki.accountKey,
		"--service-cluster-ip-range=10.96.0.0/16",
		// There is no way from a pod to the API server, and a loopback address may not stand among its endpoints.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		// Without it an orderly stop waits a minute for watches that nobody ends.
		"--shutdown-watch-termination-grace-period=1s",
	}
	if e := b.options.Eviction; e > 0 {
		seconds := int(e / time.Second)
		args = append(args, fmt.Sprintf("--default-not-ready-toleration-seconds=%d", seconds),
			fmt.Sprintf("--default-unreachable-toleration-seconds=%d", seconds))
	}
	if policy := b.options.AuditPolicy; policy != "" {
		if err := os.WriteFile(b.path("audit-policy.yaml"), []byte(policy), 0o600); err != nil {
			return err
		}
		b.AuditLog = filepath.Join(b.logs, "audit.log")
		args = append(args, "--audit-policy-file="+b.path("audit-policy.yaml"), "--audit-log-path="+b.AuditLog)
	}
	b.APIServer = b.addProgram(binaries.APIServer, binaries.APIServer,
		b.prober.ok(b.APIServerURL+"/readyz", b.tokens[Admin]), args)
	return nil
}

// writeTokens makes a token for each user.
func (b *Cluster) writeTokens() error {
	b.tokens = map[string]string{}
	var lines strings.Builder
	for user, group := range groups {
		b.tokens[user] = rand.Text()
		fmt.Fprintf(&lines, "%s,%s,%s,%q\n", b.tokens[user], user, user, group)
	}
	return os.WriteFile(b.path("tokens.csv"), []byte(lines.String()), 0o600)
}

// waitServiceAccount waits until pods can be created in a namespace, which need its default account.
func (b *Cluster) waitServiceAccount(namespace string) {
	b.t.Helper()
	b.WaitFor("the default service account of "+namespace, time.Minute, func(ctx context.Context) error {
		_, err := b.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// MakeNamespace creates a namespace, and waits until pods can be created in it.
func (b *Cluster) MakeNamespace(name string) {
	b.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := b.Client.CoreV1().Namespaces().Create(b.t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		b.t.Fatalf("namespace %s: %v", name, err)
	}
	b.waitServiceAccount(name)
}
