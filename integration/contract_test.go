package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// numbers are section numbers as texts list them: 4.4, or 2.1 and 4.4, or 1.2 to 1.5, 8.1.
const numbers = `(\d{1,2}(?:\.\d{1,2})?(?:(?:, and |, | and | or | to )\d{1,2}(?:\.\d{1,2})?)*)`

var (
	aNumber = regexp.MustCompile(`\d+(?:\.\d+)?`)
	// citation is of a text that speaks of the contract: "contract section 4.4", "the contract, as … (section 6)", "its
	// section 13", "of section 14.1". Those of RFCs and other standards are left alone.
	citation = regexp.MustCompile(`(?:\b[Cc]ontract(?:'s)?\b[^.;:]{0,40}?|\bits |\bof )\bsections? ` + numbers)
	// bracket is a citation in docs/compatibility.md and in the contract itself, whose numbers in brackets are
	// sections.
	bracket = regexp.MustCompile(`\(` + numbers + `\)|\bsee ` + numbers)
	heading = regexp.MustCompile(`(?m)^(#{2,3}) (\d+(?:\.\d+)?)\.? `)
)

// cited are the sections of the contract that a text names.
func cited(text string) []string {
	if !strings.Contains(strings.ToLower(text), "contract") {
		return nil
	}
	var all []string
	for _, found := range citation.FindAllStringSubmatch(strings.Join(strings.Fields(text), " "), -1) {
		all = append(all, aNumber.FindAllString(found[1], -1)...)
	}
	return all
}

// Every section of the contract that code, stories and pages cite is there, so that a reader can follow the citation.
func TestContractHasWhatIsCited(t *testing.T) {
	texts := pages(t)
	sections := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(texts["../docs/contract.md"], -1) {
		if sections[found[2]] {
			t.Errorf("docs/contract.md has section %s twice", found[2])
		}
		if strings.Contains(found[2], ".") != (found[1] == "###") {
			t.Errorf("docs/contract.md: the heading of section %s has the level %s", found[2], found[1])
		}
		sections[found[2]] = true
	}
	count := 0
	check := func(file string, numbers []string) {
		for _, number := range numbers {
			count++
			if !sections[number] {
				t.Errorf("%s cites section %s of the contract, and docs/contract.md has no such heading", file, number)
			}
		}
	}
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			check(s.path, cited(group.Text()))
		}
	}
	for file, text := range stories(t) {
		check(file, cited(text))
	}
	for page, text := range texts {
		check(page, cited(text))
	}
	faults := strings.Index(texts["../docs/contract.md"], "\n## 14.") // whose numbers in brackets are of faults
	for page, text := range map[string]string{
		"docs/compatibility.md": texts["../docs/compatibility.md"],
		"docs/contract.md":      texts["../docs/contract.md"][:max(faults, 0)],
	} {
		for _, found := range bracket.FindAllString(text, -1) {
			check(page, aNumber.FindAllString(found, -1))
		}
	}
	if count < 100 {
		t.Errorf("only %d citations were found: they have another form now", count)
	}
}

// stories are the comments of the files that tests play, by their path.
func stories(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != "..", entry.IsDir() &&
			entry.Name() == "bin":
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".txt" || filepath.Base(filepath.Dir(path)) != "testdata":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for paragraph := range strings.SplitSeq(string(text), "\n\n") {
			if strings.HasPrefix(paragraph, "#") {
				texts[path] += strings.ReplaceAll(paragraph, "\n#", "\n") + "\n"
			}
		}
		return nil
	})
	if err != nil || len(texts) < 10 {
		t.Fatalf("%d stories were found: %v", len(texts), err)
	}
	return texts
}

// What counts as a citation, and what does not.
func TestContractCitations(t *testing.T) {
	for text, want := range map[string]string{
		"Policy says when (contract section 2, k8s.v1.cni.galaxy.io/release-policy).":                             "2",
		"quotaOf is contract section 4.4 steps 6 and 7.":                                                          "4.4",
		"The flags: those of the contract (its section 1.5), and our own.":                                        "1.5",
		"as the contract\nhas it (section 6). Older objects have no uid.":                                         "6",
		"Requested ranges (contract sections 2.2 and 4.4; faults 10 and 21 of section 14.1).":                     "2.2 4.4 14.1",
		"Both forms (contract section 2.1, and the de-facto standard of the Working\nGroup, section 4.3): a list": "2.1",
		"The contract of the log. An anycast address (RFC 4291 section 2.6.1).":                                   "",
		"Nothing is said of section 4.4 here.":                                                                    "",
	} {
		if got := strings.Join(cited(text), " "); got != want {
			t.Errorf("%q cites %q, want %q", text, got, want)
		}
	}
}
