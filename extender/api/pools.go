package api

// PoolFields are a pool as the contract writes it.
type PoolFields struct {
	Name        string `json:"name"`
	Size        int    `json:"size" doc:"How many addresses the pool may hold" minimum:"0" maximum:"1000000"`
	PreAllocate bool   `json:"preAllocateIP" doc:"Reserve addresses until the pool holds size"`
}

// PoolResponse is the response to GET /v1/pool/{name}.
type PoolResponse struct {
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Pool    PoolFields `json:"pool"`
	Held    int        `json:"held" doc:"Addresses that the pool holds now"`
}

// PoolsResponse is the response to GET /v1/pool.
type PoolsResponse struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Pools   []PoolRow `json:"pools"`
}

// PoolRow is a pool and what it holds.
type PoolRow struct {
	PoolFields
	Held int `json:"held" doc:"Addresses that the pool holds now, those that wait for a pod included"`
	Used int `json:"used" doc:"Addresses that pods use"`
}

// SizedResponse is the response to POST /v1/pool.
type SizedResponse struct {
	Code         int    `json:"code"`
	Message      string `json:"message"`
	RealPoolSize *int   `json:"realPoolSize,omitempty" doc:"With preAllocateIP: the addresses that the pool holds now"`
}

// PlainResponse says that something was done.
type PlainResponse struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}
