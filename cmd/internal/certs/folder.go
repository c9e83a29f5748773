package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"galaxy/durable"
)

// The files of a folder, without their endings .crt and .key.
const (
	CA        = "ca"        // signs who speaks with galaxy-ipam's ports, galaxy-ipam among them
	IPAM      = "ipam"      // all replicas of galaxy-ipam, for both ports and for asking each other
	Scheduler = "scheduler" // kube-scheduler
	// signs the members of an embedded etcd, and nobody else: whoever has a certificate of it is a member
	MembersCA = "members-ca"
	Members   = "members" // all members of an embedded etcd
)

// SchedulerName is the common name of kube-scheduler's certificate, for --tls-client-names.
const SchedulerName = "system:kube-scheduler"

// Wanted says what certificates a cluster needs.
type Wanted struct {
	Namespace string        // of galaxy-ipam
	Hosts     []string      // more DNS names and addresses under which galaxy-ipam is reached
	Life      time.Duration // of what is signed
	Renew     bool          // also what is still good
}

// File is a certificate of a folder.
type File struct {
	Name    string    `json:"name"`
	Use     string    `json:"use"`
	Hosts   []string  `json:"hosts,omitempty"`
	Expires time.Time `json:"expires"`
	Done    string    `json:"done"` // Made, Kept, or that it was made anew and why
}

// plan is one certificate that is wanted, and who signs it: by is "" for an authority.
type plan struct {
	name, use, by string
	spec          Spec
}

// plan has authorities before what they sign.
func (w Wanted) plan() []plan {
	service := "galaxy-ipam"
	domain := "." + w.Namespace + ".svc"
	ipam := append([]string{service, service + "." + w.Namespace, service + domain, service + domain + ".cluster.local",
		"localhost", "127.0.0.1", "::1"}, w.Hosts...)
	members := []string{"*." + service + "-members" + domain, "127.0.0.1"}
	return []plan{
		{name: CA, use: "signs galaxy-ipam and its clients", spec: Spec{Name: "galaxy-" + CA}},
		{IPAM, "galaxy-ipam, as server and between replicas", CA, Spec{service, ipam, w.Life}},
		{Scheduler, "kube-scheduler, as a client", CA, Spec{SchedulerName, nil, w.Life}},
		{name: MembersCA, use: "signs the members of an embedded etcd", spec: Spec{Name: "galaxy-" + MembersCA}},
		{Members, "the members of an embedded etcd", MembersCA, Spec{service + "-members", members, w.Life}},
	}
}

// Make completes a folder: authorities that are there stay, certificates that are fit stay, and all else is made. A
// file that cannot be understood is an error, and is not overwritten.
func Make(dir string, w Wanted, now time.Time) ([]File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var files []File
	pairs := map[string]Pair{}
	for _, p := range w.plan() {
		old, err := read(dir, p.name)
		there := err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		pair, done, err := p.next(old, there, pairs[p.by], w.Renew, now)
		if err == nil && done != Kept {
			err = write(dir, p.name, pair)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, p.name+".crt"), err)
		}
		pairs[p.name] = pair
		files = append(files, File{p.name, p.use, p.spec.Hosts, pair.Cert.NotAfter, done})
	}
	return files, nil
}

// What became of a certificate, if it was not made anew.
const (
	Made = "made"
	Kept = "kept"
)

// next is the pair that a plan wants in place of an old one, if one is there, and what became of that.
func (p plan) next(old Pair, there bool, by Pair, renew bool, now time.Time) (Pair, string, error) {
	if p.by == "" {
		switch {
		case !there:
			made, err := NewAuthority(p.spec.Name, now)
			return made, Made, err
		case !old.Cert.IsCA || now.After(old.Cert.NotAfter):
			return Pair{}, "", fmt.Errorf("it is no authority, or has expired (%s): make a new folder, or put the "+
				"right one back", old.Cert.NotAfter.UTC().Format(time.DateOnly))
		}
		return old, Kept, nil
	}
	done := Made
	if there {
		why := by.Unfit(old, p.spec, now)
		if why == "" && !renew {
			return old, Kept, nil
		}
		if done = "made anew"; why != "" {
			done += ": " + why
		}
	}
	made, err := by.Issue(p.spec, now)
	return made, done, err
}

// read is a pair of a folder. An error that is fs.ErrNotExist means that neither of its files is there.
func read(dir, name string) (Pair, error) {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	switch noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist); {
	case noCert && noKey:
		return Pair{}, fs.ErrNotExist
	case noCert:
		return Pair{}, fmt.Errorf("%s is there and %s is not: remove it, or put the other back", keyFile, certFile)
	case noKey:
		return Pair{}, fmt.Errorf("%s is there and %s is not: remove it, or put the other back", certFile, keyFile)
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return Pair{}, err
	}
	p, err := Parse(cert, key)
	if err != nil {
		return Pair{}, fmt.Errorf("%s and %s: %w; what is there is not overwritten: remove both, or name another "+
			"folder", certFile, keyFile, err)
	}
	return p, nil
}

func write(dir, name string, p Pair) error {
	key, err := p.KeyPEM()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, name+".crt"), p.CertPEM(), 0o644)
}
