package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"

	"galaxy/extender"
	"galaxy/extender/metrics"
	"galaxy/extender/scheduler"
)

// BenchmarkPairs reports how many pods a second get an address over HTTP, filter and bind each, with 256 callers whose
// requests are made on the same two cores; etcd syncs its files there too.
func BenchmarkPairs(b *testing.B) {
	const workers, count = 256, 20_000
	replica := lead(b, openLog(b, startEtcd(b)), &batches{})
	cluster := newThousand()
	server := httptest.NewServer(scheduler.New(scheduler.Config{
		Replica: replica, Cluster: func() extender.Cluster { return cluster }, Metrics: metrics.New(nil),
		Log: zap.NewNop(),
	}).Handler())
	b.Cleanup(server.Close)
	lines := make([]*line, workers)
	for i := range lines {
		lines[i] = dial(b, server.Listener.Addr().String())
	}
	var took []time.Duration
	made := 0
	for b.Loop() {
		for range 3 {
			filters, binds := make([][]byte, count), make([][]byte, count)
			for i := range count {
				filters[i], binds[i] = post("/v1/filter", filterBody(b, made, 3)), post("/v1/bind", bindBody(made))
				made++
			}
			began := time.Now()
			callers(b, workers, count, func(caller, i int) error {
				return errors.Join(lines[caller].ask(filters[i]), lines[caller].ask(binds[i]))
			})
			took = append(took, time.Since(began))
		}
	}
	b.ReportMetric(count/median(took).Seconds(), "pairs/s")
	b.ReportMetric(6000, "target")
	b.ReportMetric(0, "ns/op")
}

func bindBody(i int) []byte {
	pod := podOf(i)
	return fmt.Appendf(nil, `{"PodName":%q,"PodNamespace":%q,"PodUID":%q,"Node":%q}`, pod.Owner.Pod,
		pod.Owner.Namespace, pod.UID, nodeName(i))
}

func post(path string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: ipam\r\nContent-Type: "+
		"application/json\r\nContent-Length: %d\r\n\r\n", path, len(body)), body...)
}

// line is one connection of a client that does no more than it must, so that what is measured is the server.
type line struct {
	conn net.Conn
	read *bufio.Reader
	body []byte
}

func dial(b *testing.B, address string) *line {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return &line{conn: conn, read: bufio.NewReader(conn)}
}

// ask sends a request and reads the response, which must be one without an error.
func (l *line) ask(request []byte) error {
	if _, err := l.conn.Write(request); err != nil {
		return err
	}
	length, status := 0, ""
	for {
		text, err := l.read.ReadSlice('\n')
		if err != nil {
			return err
		}
		text = bytes.TrimRight(text, "\r\n")
		if status == "" {
			status = string(text)
		}
		if value, ok := bytes.CutPrefix(text, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
		if len(text) == 0 {
			break
		}
	}
	l.body = append(l.body[:0], make([]byte, length)...)
	if _, err := io.ReadFull(l.read, l.body); err != nil {
		return err
	}
	if status != "HTTP/1.1 200 OK" || !bytes.HasSuffix(bytes.TrimSpace(l.body), []byte(`"Error":""}`)) {
		return fmt.Errorf("%s: %.200s", status, l.body)
	}
	return nil
}
