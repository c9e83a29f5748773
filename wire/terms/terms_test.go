package terms_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"galaxy/wire/terms"
)

// The numbers are those of the libraries that have them.
func TestNumbers(t *testing.T) {
	for ours, theirs := range map[uint]uint{
		terms.InvalidEnvironment: types.ErrInvalidEnvironmentVariables, terms.IOFailure: types.ErrIOFailure,
		terms.TryAgainLater: types.ErrTryAgainLater, terms.Internal: types.ErrInternal,
		terms.StatusOK: http.StatusOK, terms.StatusBadRequest: http.StatusBadRequest,
	} {
		if ours != theirs {
			t.Errorf("%d is %d", ours, theirs)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   terms.Failure
	}{
		{500, `{"cniVersion":"1.1.0","code":11,"msg":"not yet","details":"soon"}` + "\n",
			terms.Failure{Code: 11, Msg: "not yet", Details: "soon"}},
		{400, `{"CODE":7,"Msg":"a","msg":"b","more":{"code":[8]},"details":null}`, terms.Failure{Code: 7, Msg: "b"}},
		{400, "no pod ns/p\n", terms.Failure{Code: 4, Msg: "no pod ns/p"}},
		{500, "", terms.Failure{Code: 999, Msg: "the galaxy agent answered Oh"}},
		{404, `{"msg":"no code"}`, terms.Failure{Code: 999, Msg: `{"msg":"no code"}`}},
		{500, `{"code":"11","msg":"a text for a code"}`,
			terms.Failure{Code: 999, Msg: `{"code":"11","msg":"a text for a code"}`}},
		{500, `{"code":11,"msg":"x"} {}`, terms.Failure{Code: 999, Msg: `{"code":11,"msg":"x"} {}`}},
	} {
		if got := terms.Refusal(c.status, "Oh", []byte(c.body)); got != c.want {
			t.Errorf("%d %s: got %+v", c.status, c.body, got)
		}
	}
}

// printed is an error as the CNI library prints it.
func printed(t *testing.T, f terms.Failure) string {
	t.Helper()
	text, err := json.MarshalIndent(types.NewError(f.Code, f.Msg, f.Details), "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJSON(t *testing.T) {
	for _, f := range []terms.Failure{
		terms.CutOff("unexpected EOF"), terms.TooLarge(), {},
		{Code: 1 << 62, Msg: "<a href=\"x\">&</a>\u2028\u2029\x00\x1f\x7f\b\f\n\r\t\\/é😀"},
	} {
		if got, want := string(f.JSON()), printed(t, f); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// What is not a failure to encoding/json is none here, and the other way round; and it is printed as the library prints
// it, but for text that is not UTF-8: one writes its replacement as a letter, the other by number.
func FuzzRefusal(f *testing.F) {
	for _, body := range []string{
		`{"cniVersion":"1.1.0","code":11,"msg":"not yet","details":"soon"}`, `{"CODE":7,"Msg":"a","code":1e1}`, "text",
		"", `{"code":1,"msg":"\ud800"}`,
		"{\"code\":1,\"msg\":\"\xff<\"}", `{"code":-1,"msg":null}`, `{"code":1,"m\u017fg":"x"}`,
		`{"code":99999999999999999999,"msg":"x"}`, `null`, `[{}]`,
	} {
		f.Add(500, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		got := terms.Refusal(status, "", body)
		var object struct {
			CNIVersion string
			Code       uint
			Msg        string
			Details    string
		}
		if json.Unmarshal(body, &object) == nil && object.Code != 0 && object.Msg != "" {
			if want := (terms.Failure{Code: object.Code, Msg: object.Msg, Details: object.Details}); got != want {
				t.Fatalf("%q: got %+v, want %+v", body, got, want)
			}
		} else if text := strings.TrimSpace(string(body)); text != "" && got.Msg != text {
			t.Fatalf("%q: got %+v", body, got)
		}
		want := printed(t, got)
		if utf8.ValidString(got.Msg+got.Details) && string(got.JSON()) != want {
			t.Fatalf("got\n%s\nwant\n%s", got.JSON(), want)
		}
		var ours, theirs types.Error
		if json.Unmarshal(got.JSON(), &ours) != nil || json.Unmarshal([]byte(want), &theirs) != nil || ours != theirs {
			t.Fatalf("got\n%s\nwant\n%s", got.JSON(), want)
		}
	})
}
