package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestOpenAPI asks every operation of the document, and compares its responses with the document's schemas.
func TestOpenAPI(t *testing.T) {
	b := populated(t)
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			RequestBody *struct {
				Content map[string]struct{ Schema map[string]any }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if code := ask(t, http.MethodGet, b.rest.URL+"/openapi.json", "", &document); code != 200 ||
		document.OpenAPI != "3.1.0" {
		t.Fatalf("openapi.json: %d %s", code, document.OpenAPI)
	}
	bodies := map[string]string{
		"post /v1/ip": `{"ips":[{"ip":"10.0.80.2","podName":"x"}]}`, "put /v1/ip/{ip}": `{"poolName":"p"}`,
		"post /v1/pool": `{"name":"p","size":3,"preAllocateIP":true}`,
	}
	want := []string{"get /v1/ip", "post /v1/ip", "get /v1/ip/{ip}", "put /v1/ip/{ip}", "get /v1/ip/{ip}/history",
		"post /v1/pool", "get /v1/pool", "get /v1/pool/{name}", "delete /v1/pool/{name}", "get /v1/log",
		"get /v1/state"}
	operations := 0
	for _, methods := range document.Paths {
		operations += len(methods)
	}
	if operations != len(want) {
		t.Errorf("%d operations, want %d", operations, len(want))
	}
	for _, name := range want {
		method, path, _ := strings.Cut(name, " ")
		op, ok := document.Paths[path][method]
		if !ok || op.OperationID == "" {
			t.Errorf("%s is not in the document", name)
			continue
		}
		if (bodies[name] != "") != (op.RequestBody != nil) {
			t.Errorf("%s: a body in the document: %t", name, op.RequestBody != nil)
		}
		for _, status := range []string{"403", "415"} {
			if _, said := op.Responses[status]; said != (method != "get") {
				t.Errorf("%s: %s in the document: %t", name, status, said)
			}
		}
		url := b.rest.URL + strings.NewReplacer("{ip}", "10.0.70.4", "{name}", "p").Replace(path)
		var body any
		code := ask(t, strings.ToUpper(method), url, bodies[name], &body)
		response, ok := op.Responses[fmt.Sprint(code)]
		if !ok {
			t.Errorf("%s answers %d (%v), which is not in the document", name, code, body)
			continue
		}
		for _, failure := range conforms(document.Components.Schemas, response.Content["application/json"].Schema, body,
			name) {
			t.Error(failure)
		}
	}
}

// conforms checks the shape of a value: types, required and unknown members.
func conforms(schemas map[string]map[string]any, schema map[string]any, value any, at string) (failures []string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = schemas[ref[strings.LastIndexByte(ref, '/')+1:]]
	}
	switch value := value.(type) {
	case map[string]any:
		members, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := value[name.(string)]; !ok {
				failures = append(failures, fmt.Sprintf("%s: no %s, which is required", at, name))
			}
		}
		for name, v := range value {
			member, ok := members[name].(map[string]any)
			if !ok {
				if members != nil {
					failures = append(failures, fmt.Sprintf("%s: %s is not in the document", at, name))
				}
				continue
			}
			failures = append(failures, conforms(schemas, member, v, at+"."+name)...)
		}
	case []any:
		item, _ := schema["items"].(map[string]any)
		for i, v := range value {
			failures = append(failures, conforms(schemas, item, v, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string, float64, bool:
		want := map[string]string{"string": "string", "integer": "float64", "number": "float64", "boolean": "bool"}
		if kind, ok := schema["type"].(string); ok && want[kind] != fmt.Sprintf("%T", value) {
			failures = append(failures, fmt.Sprintf("%s: %v is no %s", at, value, kind))
		}
	}
	return failures
}
