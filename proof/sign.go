package proof

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4"
)

// Signer signs with a key of its own.
type Signer struct {
	id     string
	public jose.JSONWebKey
	signer jose.Signer
}

// NewSigner makes a key from a source of randomness, as crypto/rand.Reader.
func NewSigner(random io.Reader) (*Signer, error) {
	public, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	id, err := thumbprint(public)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA,
		Key: jose.JSONWebKey{Key: private, KeyID: id}}, (&jose.SignerOptions{}).WithType(kind))
	if err != nil {
		return nil, fmt.Errorf("sign with a key: %w", err)
	}
	return &Signer{id: id, signer: signer,
		public: jose.JSONWebKey{Key: public, KeyID: id, Algorithm: string(jose.EdDSA), Use: "sig"}}, nil
}

// ID names the key: its thumbprint (RFC 7638, SHA-256, in base64url).
func (s *Signer) ID() string { return s.id }

// Public is the public half, as a JSON Web Key.
func (s *Signer) Public() json.RawMessage {
	text, _ := s.public.MarshalJSON() // it has nothing that JSON has no form for
	return text
}

// Sign makes the proof of a binding. A binding that proves nothing is an error.
func (s *Signer) Sign(b Binding) (string, error) {
	if err := b.check(); err != nil {
		return "", fmt.Errorf("sign a binding: %w", err)
	}
	payload, err := json.Marshal(b)
	if err != nil {
		return "", fmt.Errorf("sign a binding: %w", err)
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign a binding: %w", err)
	}
	return signed.CompactSerialize()
}

// ParseKey reads a public key that is named id. One of another name or another kind is an error.
func ParseKey(id string, text []byte) (ed25519.PublicKey, error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	public, ok := key.Key.(ed25519.PublicKey)
	if !ok || !key.Valid() {
		return nil, fmt.Errorf("key %s: want a public key of the curve Ed25519", id)
	}
	own, err := thumbprint(public)
	if err != nil {
		return nil, err
	}
	if own != id {
		return nil, fmt.Errorf("key %s: it is the key %s, under another name", id, own)
	}
	return public, nil
}

func thumbprint(public ed25519.PublicKey) (string, error) {
	key := jose.JSONWebKey{Key: public}
	digest, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("name a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(digest), nil
}

// errNoProof is a text that is no proof, whoever has signed it.
var errNoProof = errors.New("it is no JSON Web Signature of one EdDSA key")

// parse reads a proof, and judges nothing of it.
func parse(text string) (*jose.JSONWebSignature, jose.Header, error) {
	if len(text) > MaxText {
		return nil, jose.Header{}, fmt.Errorf("it has %d bytes, and at most %d are read", len(text), MaxText)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(signed.Signatures) != 1 {
		return nil, jose.Header{}, errNoProof
	}
	header := signed.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != kind {
		return nil, jose.Header{}, fmt.Errorf("its type is %v, want %s", header.ExtraHeaders[jose.HeaderType], kind)
	}
	return signed, header, nil
}

// KeyOf is the name of the key that a proof says to be signed by; "" if it is no proof. Nothing of it is verified.
func KeyOf(text string) string {
	_, header, err := parse(text)
	if err != nil {
		return ""
	}
	return header.KeyID
}
