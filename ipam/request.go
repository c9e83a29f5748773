package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// MaxRequestedIPs and MaxRequestedRanges bound what one pod may ask for in its args annotation, so that no author of a
// pod can make a decision expensive.
const (
	MaxRequestedIPs    = 64
	MaxRequestedRanges = 256 // alternatives of one address
)

// RangeRequest asks for one address of each element, out of any of the element's ranges (contract section 2.2).
type RangeRequest [][]Range

// PodArgs is the annotation k8s.v1.cni.galaxy.io/args: what a pod asks of IPAM, and after bind what it got. Keys that
// this program does not know are kept as they are, at both levels.
type PodArgs struct {
	Ranges  RangeRequest
	IPInfos []IPInfo

	extra       map[string]json.RawMessage
	extraCommon map[string]json.RawMessage
}

// IPInfo is one address as CNI plugins receive it.
type IPInfo struct {
	IP      netip.Prefix `json:"ip"` // the address with the mask length of its subnet
	VLAN    uint16       `json:"vlan"`
	Gateway netip.Addr   `json:"gateway"`
}

const (
	keyRanges  = "request_ip_range"
	keyCommon  = "common"
	keyIPInfos = "ipinfos"
)

// ParsePodArgs reads the annotation's value; "" is a pod that asks for nothing.
func ParsePodArgs(text string) (PodArgs, error) {
	var args PodArgs
	if text == "" {
		return args, nil
	}
	if err := json.Unmarshal([]byte(text), &args.extra); err != nil {
		return PodArgs{}, fmt.Errorf(`args annotation: %w; want {"request_ip_range":[["<first>~<last>"]]}`, err)
	}
	if raw, ok := take(args.extra, keyRanges); ok {
		ranges, err := parseRangeRequest(raw)
		if err != nil {
			return PodArgs{}, fmt.Errorf("args annotation: %s: %w", keyRanges, err)
		}
		args.Ranges = ranges
	}
	if raw, ok := take(args.extra, keyCommon); ok {
		if err := json.Unmarshal(raw, &args.extraCommon); err != nil {
			return PodArgs{}, fmt.Errorf("args annotation: %s: %w", keyCommon, err)
		}
		if raw, ok := take(args.extraCommon, keyIPInfos); ok {
			if err := json.Unmarshal(raw, &args.IPInfos); err != nil {
				return PodArgs{}, fmt.Errorf("args annotation: %s.%s: %w", keyCommon, keyIPInfos, err)
			}
		}
	}
	return args, nil
}

func take(object map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	raw, ok := object[key]
	delete(object, key)
	return raw, ok && string(raw) != "null"
}

func parseRangeRequest(raw json.RawMessage) (RangeRequest, error) {
	var texts [][]string
	if err := json.Unmarshal(raw, &texts); err != nil {
		return nil, fmt.Errorf(`%w; want one list of ranges for each address, as [["10.0.0.2~10.0.0.30","10.0.0.60"]]`,
			err)
	}
	if len(texts) > MaxRequestedIPs {
		return nil, fmt.Errorf("asks for %d addresses; at most %d", len(texts), MaxRequestedIPs)
	}
	request := make(RangeRequest, 0, len(texts))
	for i, alternatives := range texts {
		if len(alternatives) == 0 {
			return nil, fmt.Errorf("[%d]: no range for this address", i)
		}
		if len(alternatives) > MaxRequestedRanges {
			return nil, fmt.Errorf("[%d]: %d ranges for one address; at most %d", i, len(alternatives),
				MaxRequestedRanges)
		}
		ranges := make([]Range, len(alternatives))
		for j, text := range alternatives {
			r, err := ParseRange(text)
			if err != nil {
				return nil, fmt.Errorf("[%d][%d]: %w", i, j, err)
			}
			ranges[j] = r
		}
		request = append(request, ranges)
	}
	return request, nil
}

// Text is the annotation's value, ready for the pod. What was there before and is not ours is still there.
func (args PodArgs) Text() (string, error) {
	object, common := clone(args.extra), clone(args.extraCommon)
	err := errors.Join(
		put(object, keyRanges, args.Ranges, len(args.Ranges) > 0),
		put(common, keyIPInfos, args.IPInfos, len(args.IPInfos) > 0),
		put(object, keyCommon, common, len(common) > 0),
	)
	if err != nil {
		return "", fmt.Errorf("args annotation: %w", err)
	}
	text, err := json.Marshal(object)
	return string(text), err
}

func clone(object map[string]json.RawMessage) map[string]json.RawMessage {
	copied := make(map[string]json.RawMessage, len(object)+2)
	for k, v := range object {
		copied[k] = v
	}
	return copied
}

func put(object map[string]json.RawMessage, key string, value any, present bool) error {
	if !present {
		return nil
	}
	raw, err := json.Marshal(value)
	object[key] = raw
	return err
}
