package controlplane

import (
	"galaxy/integration/cluster/binaries"
)

// addEtcds adds the etcd of the API server and that of galaxy. The first does not wait for the disk, which SIGKILL
// cannot tell from one that does; the second works as it would for its users.
func (b *Cluster) addEtcds() error {
	var err error
	if b.Etcd, b.etcdURL, err = b.addEtcd("etcd", "--unsafe-no-fsync"); err != nil {
		return err
	}
	b.GalaxyEtcd, b.GalaxyEtcdURL, err = b.addEtcd("galaxy-etcd")
	return err
}

func (b *Cluster) addEtcd(name string, more ...string) (p *Process, url string, err error) {
	var client, peer int
	if err := takePorts(&client, &peer); err != nil {
		return nil, "", err
	}
	url = "http://" + local(client)
	peers := "http://" + local(peer)
	args := append([]string{
		"--name=" + name, "--data-dir=" + b.path(name), "--listen-client-urls=" + url, "--advertise-client-urls=" + url,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=" + name + "=" +
			peers,
		"--log-level=warn",
	}, more...)
	return b.addProgram(name, binaries.Etcd, b.prober.ok(url+"/health", ""), args), url, nil
}
