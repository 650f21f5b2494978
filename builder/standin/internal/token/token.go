// Package token handles the secret with which agents join a server, in K3s's
// format: K10<sha256 of the server's CA file>::<user>:<secret>, or the secret
// alone, which then proves nothing about the server.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
)

const prefix = "K10"

// Token is a parsed token. CAHash is empty if the token had none.
type Token struct {
	CAHash string
	User   string
	Secret string
}

// Parse reads a token in either form.
func Parse(text string) (Token, error) {
	text = strings.TrimSpace(text)
	rest, full := strings.CutPrefix(text, prefix)
	if !full {
		if text == "" {
			return Token{}, fmt.Errorf("empty token")
		}
		return Token{User: "node", Secret: text}, nil
	}
	hash, credentials, ok := strings.Cut(rest, "::")
	user, secret, ok2 := strings.Cut(credentials, ":")
	if !ok || !ok2 || secret == "" {
		return Token{}, fmt.Errorf("token is not of the form %s<hash>::<user>:<secret>", prefix)
	}
	if digest, err := hex.DecodeString(hash); err != nil || len(digest) != sha256.Size {
		return Token{}, fmt.Errorf("token's CA hash is not the %d hexadecimal digits of a SHA-256", 2*sha256.Size)
	}
	return Token{CAHash: hash, User: user, Secret: secret}, nil
}

// Format writes a full token for a CA file.
func Format(ca []byte, user, secret string) string {
	return prefix + hashOf(ca) + "::" + user + ":" + secret
}

// NewSecret makes 128 random bits, in hexadecimal.
func NewSecret() string {
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	return hex.EncodeToString(secret)
}

// Accepts says if the token was made for this CA file. A token without a hash
// accepts every one.
func (t Token) Accepts(ca []byte) bool {
	return t.CAHash == "" || subtle.ConstantTimeCompare([]byte(t.CAHash), []byte(hashOf(ca))) == 1
}

// Equal compares two secrets without telling, by its time, where they differ.
func Equal(a, b string) bool {
	left, right := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(left[:], right[:]) == 1
}

func hashOf(ca []byte) string {
	digest := sha256.Sum256(ca)
	return hex.EncodeToString(digest[:])
}
