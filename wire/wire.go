// Package wire is the question and the response between galaxy-sdn, the binary that a container runtime runs, and the
// agent: one HTTP request over a unix socket for one CNI operation.
//
// The question is POST http://dummy/cni with {"env": {the whole environment}, "config": "<base64 of stdin>"}. The
// response is 200 with what the plugin shall print (nothing for DEL), 400 for a question that can not be read, or 500.
// The body of an error is a text, or an error object of the CNI specification.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"galaxy/wire/terms"
)

// Socket is where the agent listens.
const Socket = terms.Socket

// Path is what is asked.
const Path = terms.Path

// maxRequest bounds what is read of a question. An environment and a configuration are some kilobytes.
const maxRequest = 4 << 20

// Request is one CNI operation.
type Request struct {
	// Env is the environment of the plugin.
	Env map[string]string `json:"env"`
	// Config is what the plugin read from stdin: the network configuration. In JSON it is base64.
	Config []byte `json:"config"`
}

// PodArgs is what Kubernetes' runtimes say of the pod in CNI_ARGS.
type PodArgs struct {
	Namespace, Name string
	// UID and InfraContainerID are empty for runtimes that do not send them.
	UID, InfraContainerID string
}

// Decode reads a request.
func Decode(r io.Reader) (Request, error) {
	bounded := &io.LimitedReader{R: r, N: maxRequest + 1}
	decoder := json.NewDecoder(bounded)
	var req Request
	err := decoder.Decode(&req)
	if err == nil {
		if _, err = decoder.Token(); err == nil {
			err = errors.New("something follows the object")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	switch {
	case bounded.N <= 0:
		return Request{}, fmt.Errorf("the request is larger than %d bytes", maxRequest)
	case err != nil:
		return Request{}, fmt.Errorf("the request is not one object with env and config: %w", err)
	case req.Env == nil:
		return Request{}, errors.New("the request has no env")
	}
	return req, nil
}

// Environ makes the environment of a request from that of a process.
func Environ(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// Command is the operation: ADD, DEL, CHECK, GC, STATUS or VERSION.
func (r Request) Command() string { return r.Env["CNI_COMMAND"] }

// Args checks the request and gives it the form that plugins take. What an operation can do without may be missing: a
// DEL needs no CNI_NETNS, as the namespace may be gone, and only an ADD must say which pod it is for. Errors are
// *types.Error.
func (r Request) Args() (*skel.CmdArgs, PodArgs, error) {
	args := &skel.CmdArgs{
		ContainerID: r.Env["CNI_CONTAINERID"], Netns: r.Env["CNI_NETNS"], IfName: r.Env["CNI_IFNAME"],
		Args: r.Env["CNI_ARGS"],
		Path: r.Env["CNI_PATH"], NetnsOverride: r.Env["CNI_NETNS_OVERRIDE"], StdinData: r.Config,
	}
	pod := parsePod(args.Args)
	needed, known := required[r.Command()]
	if !known {
		return nil, PodArgs{}, invalid(fmt.Sprintf("CNI_COMMAND is %q, want ADD, DEL, CHECK, GC, STATUS or VERSION",
			r.Command()))
	}
	var missing []string
	for _, name := range needed {
		if r.Env[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, PodArgs{}, invalid(fmt.Sprintf("%s needs %s in the environment", r.Command(),
			strings.Join(missing, ", ")))
	}
	if err := validate(r.Command(), args, pod); err != nil {
		return nil, PodArgs{}, err
	}
	return args, pod, nil
}

// MaxContainerID is how long a container's id may be, so that it can be a part of the name of a file. Runtimes' ids
// have 64 characters.
const MaxContainerID = 200

// required are the variables that an operation can not do without.
var required = map[string][]string{
	"ADD": {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}, "CHECK": {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
	"DEL": {"CNI_CONTAINERID", "CNI_IFNAME"}, "GC": nil, "STATUS": nil, "VERSION": nil,
}

// validate refuses identifiers that would lead out of a folder when they become the name of a file.
func validate(command string, args *skel.CmdArgs, pod PodArgs) error {
	if args.ContainerID != "" {
		if err := utils.ValidateContainerID(args.ContainerID); err != nil {
			return err
		}
		if command == "ADD" && len(args.ContainerID) > MaxContainerID {
			return invalid(fmt.Sprintf("CNI_CONTAINERID has %d characters, at most %d can be the name of a file",
				len(args.ContainerID), MaxContainerID))
		}
	}
	if args.IfName != "" {
		if err := utils.ValidateInterfaceName(args.IfName); err != nil {
			return err
		}
	}
	if command == "ADD" && (pod.Namespace == "" || pod.Name == "") {
		return invalid("ADD needs K8S_POD_NAMESPACE and K8S_POD_NAME in CNI_ARGS")
	}
	for _, name := range []string{pod.Namespace, pod.Name} {
		if strings.ContainsAny(name, "/\x00") {
			return invalid(fmt.Sprintf("CNI_ARGS: %q is no name of a pod or a namespace", name))
		}
	}
	return nil
}

func invalid(text string) error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, text, "")
}

func parsePod(text string) PodArgs {
	values := ParseArgs(text)
	return PodArgs{
		Namespace: values["K8S_POD_NAMESPACE"], Name: values["K8S_POD_NAME"], UID: values["K8S_POD_UID"],
		InfraContainerID: values["K8S_POD_INFRA_CONTAINER_ID"],
	}
}

// ParseArgs reads CNI_ARGS: entries apart by ';', each cut at its first '='; spaces round a name and a value, and
// entries without '=', do not count.
func ParseArgs(text string) map[string]string {
	values := map[string]string{}
	for entry := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return values
}
