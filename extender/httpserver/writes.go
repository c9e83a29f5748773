package httpserver

import (
	"mime"
	"net/http"
)

// Writes reports whether a request may change something.
func Writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// Guarded hands on to next what may change nothing, and of the rest what no web page of another site has a browser
// send, and what is JSON. The rest goes to reject, with a Refusal, before anything of its body is read.
//
// A browser sends along what its user may do: a client certificate, or that the port is reached from this host.
// Schedulers, galaxyctl and curl send none of the headers by which a browser says whose page it shows.
func Guarded(reject func(http.ResponseWriter, error), next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := checkOrigin(origins, r)
		if err == nil {
			err = checkType(r)
		}
		if err != nil {
			reject(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func checkOrigin(origins *http.CrossOriginProtection, r *http.Request) error {
	if origins.Check(r) == nil {
		return nil
	}
	return Refuse(http.StatusForbidden, "a browser sends this for a page of another site (Origin %.100q, "+
		"Sec-Fetch-Site %.20q), and such a page may change nothing here; use galaxyctl, or a page of %.100q itself",
		r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"), r.Host)
}

// checkType fails for a request with a body that is said to be anything but JSON. Old schedulers do not say what theirs
// is.
func checkType(r *http.Request) error {
	kind := r.Header.Get("Content-Type")
	if !Writes(r) || kind == "" || r.ContentLength == 0 {
		return nil
	}
	if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
		return Refuse(http.StatusUnsupportedMediaType, "the content type %.100q is not understood; "+
			"send JSON, with the header Content-Type: application/json", kind)
	}
	return nil
}
