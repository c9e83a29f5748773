package node

import (
	"encoding/json"
	"fmt"
	"path/filepath"
)

// containerdConfig is for Debian's containerd 1.6 and later ones that read version 2. Without the right to raise the
// importance of a process for the kernel, it must not try.
func containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`, PodImage, filepath.Join(runtimeDir(), "runc"))
}

// kubeletConfig lets a kubelet run where it is not the only one that uses the machine, and without all rights.
func kubeletConfig(group string) string {
	return document(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + group, "failCgroupV1": false, "failSwapOn": false,
		"oomScoreAdj": 0,
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": true},
			"webhook": map[string]any{"enabled": false}},
		"authorization": map[string]any{"mode": "AlwaysAllow"},
		"resolvConf":    "", "nodeStatusUpdateFrequency": "1s", "syncFrequency": "5s",
		// The disk belongs to others, too.
		"imageGCHighThresholdPercent": 100, "evictionHard": map[string]any{"nodefs.available": "0%",
			"imagefs.available": "0%", "memory.available": "1Mi"},
	})
}

// proxyConfig is for a kube-proxy that may not write what belongs to the whole machine: the size of the table of
// connections.
func proxyConfig(mode string) string {
	return document(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": mode, "clientConnection": map[string]any{"kubeconfig": "/etc/kubeconfig"},
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
			"tcpCloseWaitTimeout": "0s"},
		"iptables":           map[string]any{"minSyncPeriod": "0s"},
		"nftables":           map[string]any{"minSyncPeriod": "0s"},
		"healthzBindAddress": "", "metricsBindAddress": "127.0.0.1:10249",
	})
}

func document(config map[string]any) string {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(err) // a map of strings and numbers always has a form
	}
	return string(text)
}
