package scheduler

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/extender/httpserver"
	"galaxy/kube"
	"galaxy/kube/stream"
)

// args is what filter and prioritize are asked: a pod, and nodes by name or whole. The nodes alias the body.
type args struct {
	pod   *kube.Pod
	nodes []candidate
	whole bool // the nodes came whole, and go back whole
}

// candidate is a node that the scheduler offers.
type candidate struct {
	name string
	text []byte     // as it stood in the body: the name in quotes, or the whole object
	end  int64      // of a name: where it ends in the list of names
	node *kube.Node // nil for a name that the cluster does not know
	at   networkIndex
}

var argsPool = sync.Pool{New: func() any { return new(args) }}

func borrowArgs() *args { return argsPool.Get().(*args) }

// keptNodes is the room for candidates that is kept for the next request, where one was larger: three times what
// clusters have, of some 100 bytes each.
const keptNodes = 16_384

func (a *args) giveBack() {
	if cap(a.nodes) > keptNodes {
		a.nodes = nil
	}
	clear(a.nodes)
	*a = args{nodes: a.nodes[:0]}
	argsPool.Put(a)
}

// read decodes the body of filter and prioritize. Old schedulers write the names of the members in lower case.
func (a *args) read(body []byte) error {
	dec := stream.New(body)
	wholeNodes, names := false, false
	err := stream.Object(dec, func(name []byte) error {
		var err error
		switch {
		case is(name, "pod"):
			a.pod, err = kube.ReadPod(dec)
		case is(name, "nodes"):
			wholeNodes = dec.PeekKind() == '{'
			err = a.readNodes(dec, body)
		case is(name, "nodenames"):
			names = dec.PeekKind() == '['
			err = a.readNames(dec, body)
		default:
			err = stream.Skip(dec)
		}
		return under(name, err)
	})
	if err == nil {
		err = stream.End(dec)
	}
	switch {
	case err != nil:
		return malformed(err)
	case a.pod == nil:
		return httpserver.Refuse(http.StatusBadRequest, "the request has no Pod")
	case wholeNodes && names:
		return httpserver.Refuse(http.StatusBadRequest, "the request has both Nodes and NodeNames; want one of them")
	case !wholeNodes && !names:
		return httpserver.Refuse(http.StatusBadRequest, "the request has neither Nodes nor NodeNames")
	}
	a.whole = wholeNodes
	return nil
}

// maxNodes bounds the nodes of one request: many times what a cluster has, and each costs some 500 bytes while it is
// judged.
const maxNodes = 100_000

var errManyNodes = fmt.Errorf("the request has more than %d nodes", maxNodes)

func (a *args) readNodes(dec *jsontext.Decoder, body []byte) error {
	return stream.Object(dec, func(name []byte) error {
		if !is(name, "items") {
			return stream.Skip(dec)
		}
		return stream.Array(dec, func() error {
			start := dec.InputOffset()
			node, err := kube.ReadNode(dec)
			if err != nil {
				return fmt.Errorf("%s: %w", stream.Where(dec), err)
			}
			if node == nil {
				return fmt.Errorf("%s: want a Node, have null", stream.Where(dec))
			}
			if len(a.nodes) == maxNodes {
				return errManyNodes
			}
			a.nodes = append(a.nodes, candidate{name: node.Name, node: node,
				text: trimSeparators(body[start:dec.InputOffset()])})
			return nil
		})
	})
}

// readNames makes one string of the whole list and cuts the names out of it, as a thousand small ones cost more.
func (a *args) readNames(dec *jsontext.Decoder, body []byte) error {
	first, start := len(a.nodes), dec.InputOffset()
	err := stream.Array(dec, func() error {
		if dec.PeekKind() != '"' {
			_, err := stream.Bytes(dec)
			if err == nil {
				err = fmt.Errorf("%s: want a name, have null", stream.Where(dec))
			}
			return err
		}
		text, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if len(a.nodes) == maxNodes {
			return errManyNodes
		}
		end := dec.InputOffset()
		a.nodes = append(a.nodes, candidate{text: body[end-int64(len(text)) : end], end: end - start})
		return nil
	})
	if err != nil {
		return err
	}
	list := string(body[start:dec.InputOffset()])
	for i := range a.nodes[first:] {
		c := &a.nodes[first+i]
		if len(c.text) <= len(`""`) {
			return fmt.Errorf("name %d of %d is empty", i+1, len(a.nodes)-first)
		}
		if bytes.IndexByte(c.text, '\\') >= 0 {
			plain, err := jsontext.AppendUnquote(nil, c.text)
			if err != nil {
				return err
			}
			c.name = string(plain)
			continue
		}
		c.name = list[c.end-int64(len(c.text))+1 : c.end-1]
	}
	return nil
}

// trimSeparators cuts what stands between a value and the one before it.
func trimSeparators(text []byte) []byte {
	return bytes.TrimLeft(text, " \t\r\n,:[")
}

// is compares the name of a member of the protocol, which is lower case here, regardless of case.
func is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i := range name {
		if name[i]|0x20 != want[i] {
			return false
		}
	}
	return true
}

// under names the member of the protocol that an error is about, unless the error does.
func under(member []byte, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", member, err)
}

func malformed(err error) error {
	return httpserver.Refuse(http.StatusBadRequest, "the request is not understood: %v", err)
}
