package scheduler

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"galaxy/allocator"
	"galaxy/extender"
	"galaxy/kube"
)

// Why a node does not pass; the contract's words (section 4.4), as people and tools look for them.
const (
	reasonUnknownNode = "FloatingIPPlugin:UnknowNode"
	reasonNoConfig    = "FloatingIPPlugin:NoFIPConfigNode"
	reasonNoAddress   = "FloatingIPPlugin:NoFIPLeft"
)

func (s *Scheduler) serveFilter(w http.ResponseWriter, r *http.Request) error {
	started := time.Now()
	return s.withArgs(w, r, func(a *args, out []byte) []byte {
		if !a.pod.Wants {
			return appendFilterResult(out, a, passAll)
		}
		allowed, err := s.filter(r.Context(), a)
		if err != nil {
			return appendFilterError(out, err)
		}
		s.Metrics.Scheduled("filter", time.Since(started))
		return appendFilterResult(out, a, allowed)
	})
}

// verdict says why a node does not pass, or "".
type verdict func(networkIndex) string

func passAll(networkIndex) string { return "" }

// filter asks the allocator which of the offered nodes may run the pod.
func (s *Scheduler) filter(ctx context.Context, a *args) (verdict, error) {
	cluster := extender.ClusterOf(s.Cluster)
	s.remember(a, cluster)
	pod, err := kube.RequestIn(a.pod, cluster)
	if err != nil {
		return nil, err
	}
	view := s.Replica.View()
	p := s.networksOf(view)
	distinct := s.locate(a, cluster, p)
	candidates := make([]netip.Prefix, len(distinct))
	for i, at := range distinct {
		candidates[i] = p.network(at)
	}
	response, err := allocator.Filter(view, pod, candidates, s.Replica.Env())
	if err == nil && response.Claim {
		// If it gets none, each node says NoFIPLeft, so that the scheduler may look for victims.
		response.Networks, err = s.saga.Claim(ctx, pod, candidates)
	}
	if err != nil {
		return nil, err
	}
	passes := make([]bool, len(p.config.NodeNetworks()))
	for i, at := range distinct {
		passes[at] = slices.Contains(response.Networks, candidates[i])
	}
	return verdictOf(passes), nil
}

func verdictOf(passes []bool) verdict {
	return func(at networkIndex) string {
		switch {
		case at == networkUnknown:
			return reasonUnknownNode
		case at == networkNone:
			return reasonNoConfig
		case !passes[at]:
			return reasonNoAddress
		default:
			return ""
		}
	}
}

// appendFilterResult writes an ExtenderFilterResult. Nodes go back as they came, byte for byte.
func appendFilterResult(out []byte, a *args, why verdict) []byte {
	if a.whole {
		out = append(out, `{"Nodes":{"metadata":{},"items":[`...)
	} else {
		out = append(out, `{"Nodes":null,"NodeNames":[`...)
	}
	failed := 0
	for i, sep := 0, false; i < len(a.nodes); i++ {
		if why(a.nodes[i].at) != "" {
			failed++
			continue
		}
		if sep {
			out = append(out, ',')
		}
		out, sep = append(out, a.nodes[i].text...), true
	}
	if a.whole {
		out = append(out, `]},"NodeNames":null,"FailedNodes":{`...)
	} else {
		out = append(out, `],"FailedNodes":{`...)
	}
	if failed > 0 {
		out = appendFailed(out, a, why, false)
	}
	out = append(out, `},"FailedAndUnresolvableNodes":{`...)
	if failed > 0 {
		out = appendFailed(out, a, why, true)
	}
	return append(out, `},"Error":""}`...)
}

// appendFailed writes the nodes that do not pass; or only those where evicting pods would not help, which stand in both
// lists because older schedulers know only the first.
func appendFailed(out []byte, a *args, why verdict, unresolvable bool) []byte {
	sep := false
	for i := range a.nodes {
		c := &a.nodes[i]
		reason := why(c.at)
		if reason == "" || unresolvable && c.at >= 0 {
			continue
		}
		if sep {
			out = append(out, ',')
		}
		sep = true
		if a.whole {
			out = appendText(out, c.name)
		} else {
			out = append(out, c.text...)
		}
		out = append(out, `:"`...)
		out = append(out, reason...)
		out = append(out, '"')
	}
	return out
}

func appendFilterError(out []byte, err error) []byte {
	out = append(out, `{"Nodes":null,"NodeNames":null,"FailedNodes":{},"FailedAndUnresolvableNodes":{},"Error":`...)
	return append(appendText(out, err.Error()), '}')
}

// appendText writes a JSON string. Text that is no UTF-8 is repaired rather than refused.
func appendText(out []byte, text string) []byte {
	quoted, err := jsontext.AppendQuote(out, text)
	if err != nil {
		quoted, _ = jsontext.AppendQuote(out, string([]rune(text)))
	}
	return quoted
}
