package api

import (
	"encoding/json"
	"time"
)

// HistoryEntry is one event about an address: whom it was held for from then on, and until when.
type HistoryEntry struct {
	Seq       uint64     `json:"seq"`
	Type      string     `json:"type" doc:"Of the event"`
	From      time.Time  `json:"from"`
	To        *time.Time `json:"to,omitempty" doc:"When the next event came; absent while it lasts"`
	Key       string     `json:"key,omitempty" doc:"The owner as one text; of a release, the one that held it"`
	Namespace string     `json:"namespace,omitempty"`
	AppName   string     `json:"appName,omitempty"`
	AppType   string     `json:"appType,omitempty"`
	PodName   string     `json:"podName,omitempty"`
	PoolName  string     `json:"poolName,omitempty"`
	PodUID    string     `json:"podUID,omitempty"`
	Node      string     `json:"node,omitempty"`
	Policy    string     `json:"policy,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Actor     string     `json:"actor" doc:"Who decided"`
	Cause     string     `json:"cause,omitempty" doc:"Why: the uid of a pod, the name of a request"`
}

// HistoryResponse is the history of an address, oldest first.
type HistoryResponse struct {
	IP      string         `json:"ip"`
	Entries []HistoryEntry `json:"entries"`
	Older   uint64         `json:"older,omitempty" doc:"There is more: ask again with this as newest"`
}

// LogPage is a page of the log.
type LogPage struct {
	Events []json.RawMessage `json:"events" doc:"As they are stored, byte for byte"`
	Head   uint64            `json:"head" doc:"Sequence number of the newest event"`
}
