// Command pod is what runs in the pods of a real node: it says who it is and who asks, and asks others.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := serve(":80"); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func serve(at string) error {
	http.HandleFunc("/who", who)
	http.HandleFunc("/get", get)
	server := &http.Server{Addr: at, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

// who says the pod's name, and the address that it is asked from.
func who(w http.ResponseWriter, request *http.Request) {
	name, err := os.Hostname()
	from, _, splitErr := net.SplitHostPort(request.RemoteAddr)
	if err != nil || splitErr != nil {
		http.Error(w, fmt.Sprint(err, splitErr), http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprintln(w, name, from) // who is gone asks again
}

// get asks another server, on a connection of its own, and gives its response or what went wrong.
func get(w http.ResponseWriter, request *http.Request) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(request.URL.Query().Get("url"))
	if err != nil {
		_, _ = fmt.Fprintln(w, "no response:", err) // who is gone asks again
		return
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	_, _ = io.Copy(w, response.Body)
}
