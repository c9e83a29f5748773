package proof_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"galaxy/ipam"
	"galaxy/proof"
)

var (
	first  = info("10.0.0.2/24", "10.0.0.1", 0)
	second = info("fd00::2/64", "fd00::1", 7)
	web    = proof.Binding{Generation: "g1", Seq: 9, PodUID: "u1", Node: "a", IPs: []ipam.IPInfo{first, second}}
)

func info(ip, gateway string, vlan uint16) ipam.IPInfo {
	return ipam.IPInfo{IP: netip.MustParsePrefix(ip), VLAN: vlan, Gateway: netip.MustParseAddr(gateway)}
}

// newSigner is a key, and a ring that has it.
func newSigner(t interface{ Fatal(...any) }) (*proof.Signer, proof.Ring) {
	signer, err := proof.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(signer.ID(), signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, proof.Ring{signer.ID(): key}
}

func sign(t interface{ Fatal(...any) }, s *proof.Signer, b proof.Binding) string {
	text, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// claimOf is what a pod claims that shows just what was signed.
func claimOf(b proof.Binding, text string) proof.Claim {
	return proof.Claim{Proof: text, IPs: b.IPs, PodUID: b.PodUID, Node: b.Node, Generation: b.Generation}
}

// What proves nothing is refused, for the reason that it is.
func TestRefusals(t *testing.T) {
	signer, ring := newSigner(t)
	other, _ := newSigner(t)
	good := sign(t, signer, web)
	parts := strings.Split(good, ".")
	payload := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for _, c := range []struct {
		what   string
		change func(*proof.Claim)
		reason proof.Reason
		says   string
	}{
		{"all is well", func(*proof.Claim) {}, "", ""},
		{"none", func(c *proof.Claim) { c.Proof = "" }, proof.Missing, "not bound by galaxy-ipam"},
		{"text", func(c *proof.Claim) { c.Proof = "proof" }, proof.Malformed, "no JSON Web Signature"},
		{"a long one", func(c *proof.Claim) { c.Proof = strings.Repeat("x", proof.MaxText+1) }, proof.Malformed,
			"at most 16384 are read"},
		{"as long as one may be", func(c *proof.Claim) { c.Proof = strings.Repeat("x", proof.MaxText) }, proof.Malformed,
			"no JSON Web Signature"},
		{"an unsigned one", func(c *proof.Claim) { c.Proof = payload(`{"alg":"none"}`) + "." + parts[1] + "." },
			proof.Malformed, ""},
		{"a shared secret", func(c *proof.Claim) {
			c.Proof = payload(`{"alg":"HS256","kid":"`+signer.ID()+`"}`) + "." + parts[1] + "." + parts[2]
		}, proof.Malformed, ""},
		{"a key that nobody has", func(c *proof.Claim) { c.Proof = sign(t, other, web) }, proof.UnknownKey,
			"galaxy-ipam does not have"},
		{"another payload", func(c *proof.Claim) {
			c.Proof = parts[0] + "." + payload(`{"generation":"g1","podUID":"u1","node":"a","ips":[]}`) + "." + parts[2]
		}, proof.Forged, "was edited"},
		{"no signature", func(c *proof.Claim) { c.Proof = parts[0] + "." + parts[1] + "." }, proof.Forged, "was edited"},
		{"another pod", func(c *proof.Claim) { c.PodUID = "u2" }, proof.Copied, "the uid u1, and this one has u2"},
		{"another node", func(c *proof.Claim) { c.Node = "b" }, proof.Copied, "for node a, and this is b"},
		{"another log", func(c *proof.Claim) { c.Generation = "g2" }, proof.Stale, "generation g1 of the log, which is g2"},
		{"another address", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{info("10.0.0.3/24", "10.0.0.1", 0), second} },
			proof.Edited, "10.0.0.3/24"},
		{"another length", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{info("10.0.0.2/16", "10.0.0.1", 0), second} },
			proof.Edited, "10.0.0.2/16"},
		{"another gateway", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{info("10.0.0.2/24", "10.0.0.9", 0), second} },
			proof.Edited, "10.0.0.9"},
		{"another VLAN", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{info("10.0.0.2/24", "10.0.0.1", 4), second} },
			proof.Edited, "VLAN 4"},
		{"one fewer", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{first} }, proof.Edited, "the annotation says"},
		{"another order", func(c *proof.Claim) { c.IPs = []ipam.IPInfo{second, first} }, proof.Edited, ""},
		{"no address", func(c *proof.Claim) { c.IPs = nil }, proof.Edited, "says none"},
	} {
		claim := claimOf(web, good)
		c.change(&claim)
		got, err := ring.Verify(claim)
		var refusal *proof.Refusal
		switch {
		case c.reason == "" && (err != nil || got.Seq != web.Seq || !slices.Equal(got.IPs, web.IPs)):
			t.Errorf("%s: %+v, %v", c.what, got, err)
		case c.reason != "" && (!errors.As(err, &refusal) || refusal.Reason != c.reason ||
			!strings.Contains(err.Error(), c.says) || len(got.IPs) > 0):
			t.Errorf("%s: %v, want %s and %q", c.what, err, c.reason, c.says)
		}
	}
}

// A signature by the right key of something else than a binding is no proof.
func TestOtherSignatures(t *testing.T) {
	signer, ring := newSigner(t)
	if _, err := signer.Sign(proof.Binding{}); err == nil {
		t.Error("nothing was signed")
	}
	for _, b := range []proof.Binding{
		{PodUID: "u1", Node: "a", IPs: web.IPs}, {Generation: "g1", Node: "a", IPs: web.IPs},
		{Generation: "g1", PodUID: "u1", IPs: web.IPs}, {Generation: "g1", PodUID: "u1", Node: "a"},
		{Generation: "g1", PodUID: "u1", Node: "a", IPs: []ipam.IPInfo{{}}},
	} {
		if _, err := signer.Sign(b); err == nil {
			t.Errorf("%+v was signed", b)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "k"}},
		(&jose.SignerOptions{}).WithType("another"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(web)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := other.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (proof.Ring{"k": public}).Verify(claimOf(web, text)); err == nil ||
		!strings.Contains(err.Error(), "its type is another, want galaxy-binding") {
		t.Errorf("a signature of another type: %v", err)
	}
	if proof.KeyOf(sign(t, signer, web)) != signer.ID() || proof.KeyOf("") != "" || len(ring) != 1 {
		t.Error("the key of a proof is another")
	}
}

// A key is what it is named, and public.
func TestParseKey(t *testing.T) {
	signer, _ := newSigner(t)
	other, _ := newSigner(t)
	secret, err := (&jose.JSONWebKey{Key: []byte("secret")}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   string
		text []byte
		says string
	}{
		{other.ID(), signer.Public(), "under another name"},
		{signer.ID(), []byte(`{}`), "key " + signer.ID()},
		{signer.ID(), []byte(`null`), "key " + signer.ID()},
		{signer.ID(), secret, "Ed25519"},
	} {
		if _, err := proof.ParseKey(c.id, c.text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.text, err, c.says)
		}
	}
	if text := string(signer.Public()); strings.Contains(text, `"d"`) || !strings.Contains(text, `"crv":"Ed25519"`) {
		t.Errorf("published is %s", text)
	}
}

// What was signed is what is read, and whatever is changed of a proof, nobody reads anything else in it.
func TestLaws(t *testing.T) {
	signer, ring := newSigner(t)
	rapid.Check(t, func(t *rapid.T) {
		b := proof.Binding{
			Generation: rapid.StringMatching(`[0-9a-f]{1,32}`).Draw(t, "generation"),
			Seq:        rapid.Uint64().Draw(t, "seq"), PodUID: rapid.StringN(1, 40, -1).Draw(t, "uid"),
			Node: rapid.StringN(1, 40, -1).Draw(t, "node"),
			IPs: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ipam.IPInfo {
				a := rapid.Uint8Range(2, 254).Draw(t, "address")
				return info(fmt.Sprintf("10.0.0.%d/24", a), "10.0.0.1", rapid.Uint16().Draw(t, "vlan"))
			}), 1, 4).Draw(t, "ips"),
		}
		text := sign(t, signer, b)
		got, err := ring.Verify(claimOf(b, text))
		if err != nil || got.Seq != b.Seq {
			t.Fatalf("%+v, %v", got, err)
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		to := rapid.ByteRange('!', '~').Draw(t, "to")
		changed := text[:at] + string(rune(to)) + text[at+1:]
		if got, err := ring.Verify(claimOf(b, changed)); err == nil && (got.Seq != b.Seq || !slices.Equal(got.IPs, b.IPs)) {
			t.Fatalf("changed at %d it proves %+v", at, got)
		}
	})
}

func FuzzVerify(f *testing.F) {
	signer, ring := newSigner(f)
	text := sign(f, signer, web)
	f.Add(text)
	f.Add("")
	f.Add(strings.ReplaceAll(text, ".", ".."))
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, changed string) {
		b, err := ring.Verify(claimOf(web, changed))
		if err == nil && (b.Seq != web.Seq || !slices.Equal(b.IPs, web.IPs)) {
			t.Errorf("%q proves %+v", changed, b)
		}
		proof.KeyOf(changed)
	})
}

// FuzzKey: a key that is taken has the name that it is asked for by.
func FuzzKey(f *testing.F) {
	signer, _ := newSigner(f)
	f.Add(signer.ID(), []byte(signer.Public()))
	f.Fuzz(func(t *testing.T, id string, text []byte) {
		key, err := proof.ParseKey(id, text)
		if err == nil && (len(id) != 43 || len(key) != 32) {
			t.Errorf("%q: %d bytes", id, len(key))
		}
	})
}
