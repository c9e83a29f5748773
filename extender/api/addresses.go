package api

import "time"

// AddressRow is one address as the REST interface shows it; the first eleven fields are the contract's.
type AddressRow struct {
	IP         string    `json:"ip" doc:"The address"`
	Namespace  string    `json:"namespace,omitempty"`
	AppName    string    `json:"appName,omitempty" doc:"The workload that it is held for"`
	PodName    string    `json:"podName,omitempty" doc:"The pod that it is held for"`
	PoolName   string    `json:"poolName,omitempty"`
	Policy     uint16    `json:"policy" doc:"When it is given back: 0 with the pod, 1 with the workload, 2 never by itself" maximum:"2"`
	AppType    string    `json:"appType,omitempty" doc:"Kind of the workload in lower case"`
	UpdateTime time.Time `json:"updateTime" doc:"Of the newest event about it, else of the configuration in force"`
	Status     string    `json:"status,omitempty" doc:"Phase of the pod, Deleted, or Unknown"`
	Releasable bool      `json:"releasable,omitempty" doc:"Whether POST /v1/ip would release it"`
	State      string    `json:"state" enum:"bound,claimed,reserved,draining,cooling,free"`
	Node       string    `json:"node,omitempty" doc:"Where it is in use"`
	PodUID     string    `json:"podUID,omitempty"`
	Subnet     string    `json:"subnet,omitempty" doc:"Empty while the address drains"`
	Seq        uint64    `json:"seq,omitempty" doc:"The newest event about it, in the log"`
}

// AddressPage is a page of GET /v1/ip.
type AddressPage struct {
	Last             bool         `json:"last"`
	TotalElements    int64        `json:"totalElements" doc:"The largest 64-bit number when there are more"`
	TotalPages       int64        `json:"totalPages"`
	First            bool         `json:"first"`
	NumberOfElements int          `json:"numberOfElements"`
	Size             int          `json:"size"`
	Number           int          `json:"number" doc:"Of this page, from 0"`
	Content          []AddressRow `json:"content,omitempty"`
}

// OwnerFields name an owner as clients of the REST interface do.
type OwnerFields struct {
	AppName   string `json:"appName,omitempty"`
	AppType   string `json:"appType,omitempty" doc:"Kind of the workload, also plural or in upper case. With an appName default statefulset"`
	PodName   string `json:"podName,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	PoolName  string `json:"poolName,omitempty"`
}

// ReserveBody is the body of PUT /v1/ip/{ip}: whom to keep the address for.
type ReserveBody struct {
	OwnerFields
	Reason string `json:"reason,omitempty" doc:"For the log"`
}

// AddressResponse is the response to PUT /v1/ip/{ip}.
type AddressResponse struct {
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Content AddressRow `json:"content"`
}

// ReleaseItem is an address to release, and whom the client believes it to be held for. Rows of GET /v1/ip are such
// items.
type ReleaseItem struct {
	IP string `json:"ip"`
	OwnerFields
}

// ReleaseBody is the body of POST /v1/ip.
type ReleaseBody struct {
	IPs   []ReleaseItem `json:"ips"`
	Force bool          `json:"force,omitempty" doc:"Release also what is held for pods of which nobody knows whether they run"`
}

// ReleaseResponse says what could not be released.
type ReleaseResponse struct {
	Code       int      `json:"code"`
	Message    string   `json:"message"`
	Unreleased []string `json:"unreleased,omitempty"`
	Reasons    []string `json:"reasons,omitempty" doc:"Why, in the order of unreleased"`
}
