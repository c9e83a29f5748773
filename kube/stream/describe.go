package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Describe rewords an error of encoding/json in the words of this package: which value is wrong, what is wanted there,
// and what stands there; or at which byte the text ends to be JSON. Other errors it leaves as they are.
func Describe(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		at := wrong.Field
		if at == "" {
			at = "the top level"
		}
		return fmt.Errorf("%s: want %s, have %s", at, wanted(wrong.Type), found(wrong.Value))
	}
	var broken *json.SyntaxError
	if errors.As(err, &broken) {
		what := strings.Replace(broken.Error(), "after top-level value", "after the end of the value", 1)
		return fmt.Errorf("it is no JSON at byte %d: %s", broken.Offset, what)
	}
	return err
}

// wanted says which JSON a Go type is read from.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.ConvertibleTo(reflect.TypeFor[float64]()) && t.Kind() != reflect.Float32 && t.Kind() != reflect.Float64:
		return "a whole number that fits"
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		return "an array"
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return "an object"
	default:
		return "another type"
	}
}

// found puts an article before what encoding/json says that it has found, as "number 1.5".
func found(value string) string {
	switch value {
	case "array", "object":
		return "an " + value
	case "string", "number":
		return "a " + value
	case "bool":
		return "true or false"
	default:
		return "the " + value
	}
}
