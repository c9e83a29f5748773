package httpserver

import "net/http"

// Served says why whoever asks would not be served; "" when all is well.
type Served interface{ Unready() string }

// AddHealth serves what probes ask. /healthy is the contract's; it and /healthz say that the process is alive, /readyz
// that whoever asks is served; else it says why not.
func AddHealth(mux *http.ServeMux, served Served) {
	alive := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	mux.HandleFunc("GET /healthy", alive)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := served.Unready(); why != "" {
			http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
			return
		}
		alive(w, r)
	})
}
