package objects_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"galaxy/kube/objects"
)

// BenchmarkParse reads a thousand pods as kubectl prints them.
func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("../testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	text = bytes.Replace(text, []byte("{"), []byte(`{"kind":"Pod",`), 1)
	asYAML, err := yaml.JSONToYAML(text)
	if err != nil {
		b.Fatal(err)
	}
	for name, one := range map[string][]byte{"json": text, "yaml": asYAML} {
		var all bytes.Buffer
		for i := range 1000 {
			pod := bytes.ReplaceAll(one, []byte("9rmm2"), fmt.Appendf(nil, "%05d", i))
			all.Write(bytes.Replace(pod, []byte("cb875e67"), fmt.Appendf(nil, "%08x", i), 1)) // its uid
			all.WriteString("\n---\n")
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(all.Len()))
			for b.Loop() {
				if set, err := objects.Parse(all.Bytes(), time.Now()); err != nil || set.Len() != 1000 {
					b.Fatal(err)
				}
			}
		})
	}
}
