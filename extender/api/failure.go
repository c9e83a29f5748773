package api

// Failure is the response to a request that was refused or failed.
type Failure struct {
	Code    int    `json:"code" doc:"The HTTP status"`
	Message string `json:"message" doc:"One sentence after the kind of failure: bad request, not allowed, not found, server error"`
}

func (f *Failure) Error() string { return f.Message }

// GetStatus is the HTTP status, for huma.
func (f *Failure) GetStatus() int { return f.Code }
