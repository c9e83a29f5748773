package ipam

import (
	"fmt"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// escape percent-encodes what would be read as structure: the separator, the escape mark itself, and the word NULL.
func escape(name string) string {
	if name == noOwner {
		return escapeFirst(name)
	}
	if !strings.ContainsAny(name, "_%") {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c == '_' || c == '%' {
			writeHex(&b, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func escapeFirst(name string) string {
	var b strings.Builder
	writeHex(&b, name[0])
	b.WriteString(name[1:])
	return b.String()
}

func writeHex(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteByte(hexDigits[c>>4])
	b.WriteByte(hexDigits[c&15])
}

func unescape(text string) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", fmt.Errorf("%.*q ends inside a percent escape; want %%XX", maxShown, text)
		}
		hi, lo := strings.IndexByte(hexDigits, text[i+1]), strings.IndexByte(hexDigits, text[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("%.*q holds the bad percent escape %q; want two upper-case hex digits", maxShown,
				text, text[i:i+3])
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

// kindText abbreviates a kind as the contract does. A kind that happens to be spelled like an abbreviation is escaped.
func kindText(kind string) string {
	switch kind {
	case "":
		return noOwner
	case KindDeployment:
		return "dp"
	case KindStatefulSet:
		return "sts"
	case "dp", "sts":
		return escapeFirst(kind)
	default:
		return escape(kind)
	}
}

func kindOf(text string) string {
	switch text {
	case noOwner:
		return ""
	case "dp":
		return KindDeployment
	case "sts":
		return KindStatefulSet
	default:
		return text
	}
}

// KindOfAppType maps the appType of the REST interface (contract section 4.1) to a kind: plurals and upper case are
// understood, replicaset means the Deployment above it, and "" means statefulset.
func KindOfAppType(appType string) string {
	switch t := strings.ToLower(strings.TrimSpace(appType)); t {
	case "", "statefulset", "statefulsets", "sts":
		return KindStatefulSet
	case "deployment", "deployments", "dp", "replicaset", "replicasets":
		return KindDeployment
	default:
		return t
	}
}
