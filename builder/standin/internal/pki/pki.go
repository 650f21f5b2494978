// Package pki makes the cluster's keys and certificates.
//
// All keys are on the P-256 curve: making and using RSA keys takes a 32-bit
// ARM core seconds.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour
	renewBefore  = 90 * 24 * time.Hour
	// Gateways without a battery-backed clock may have made a certificate
	// before they knew the time, and go back a little after that.
	backdate = 24 * time.Hour
)

// Pair is a certificate and its key in PEM.
type Pair struct {
	Cert, Key []byte
}

// CA signs certificates.
type CA struct {
	Pair
	cert   *x509.Certificate
	signer crypto.Signer
}

// Request is what a certificate shall say. A certificate with names is for
// servers; all are for clients.
type Request struct {
	User   string
	Groups []string
	Names  []string
}

// LoadCA reads the CA NAME.crt and NAME.key of a folder, or makes it there.
func LoadCA(dir, name, subject string) (*CA, error) {
	pair, err := readPair(dir, name)
	if os.IsNotExist(err) {
		if pair, err = newCA(subject); err == nil {
			err = writePair(dir, name, pair)
		}
	}
	if err != nil {
		return nil, err
	}
	cert, err := ParseCert(pair.Cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	signer, err := parseKey(pair.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &CA{Pair: pair, cert: cert, signer: signer}, nil
}

func newCA(subject string) (Pair, error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", subject, time.Now().Unix())},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(caValidity),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := sign(template, template, key.Public(), key)
	return Pair{Cert: cert, Key: keyPEM}, err
}

// Ensure returns the certificate NAME.crt of a folder if it still says what is
// asked for, by this CA, and for some months to come. Otherwise it is made.
func (ca *CA) Ensure(dir, name string, r Request) (Pair, error) {
	pair, err := readPair(dir, name)
	if err == nil && ca.stillGood(pair, r) {
		return pair, nil
	}
	key, keyPEM, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	cert, err := ca.Sign(key.Public(), r)
	if err != nil {
		return Pair{}, err
	}
	pair = Pair{Cert: cert, Key: keyPEM}
	return pair, writePair(dir, name, pair)
}

// Sign certifies a public key.
func (ca *CA) Sign(public crypto.PublicKey, r Request) ([]byte, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: r.User, Organization: r.Groups},
		NotAfter:    time.Now().Add(leafValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(r.Names) != 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, name := range r.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, ca.cert, public, ca.signer)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	// As long as the CA, as K3s has it: a gateway whose clock has stopped at
	// the time when the cluster began still accepts what is signed later.
	template.NotBefore = parent.NotBefore
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func (ca *CA) stillGood(pair Pair, r Request) bool {
	cert, err := ParseCert(pair.Cert)
	if err != nil || cert.CheckSignatureFrom(ca.cert) != nil {
		return false
	}
	have := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	for _, name := range r.Names {
		if !slices.Contains(have, name) {
			return false
		}
	}
	return cert.Subject.CommonName == r.User &&
		slices.Equal(cert.Subject.Organization, r.Groups) &&
		time.Until(cert.NotAfter) > renewBefore
}

// NewKey makes a key, and its PEM in the "EC PRIVATE KEY" form: the API server
// reads service account keys in no other.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// EnsureKey makes a key file if it is not there.
func EnsureKey(path string) error {
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		return err
	}
	_, keyPEM, err := NewKey()
	if err != nil {
		return err
	}
	return WriteFile(path, keyPEM, 0o600)
}

// ReadKey reads a key file of EnsureKey.
func ReadKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseKey(data)
}

// ParseCert reads the first certificate of a PEM text.
func ParseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("no certificate in PEM form")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("no key in PEM form")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func readPair(dir, name string) (Pair, error) {
	cert, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, name+".key"))
	return Pair{Cert: cert, Key: key}, err
}

func writePair(dir, name string, pair Pair) error {
	// The key goes first: a certificate without its key would be taken for
	// a complete pair after a power cut.
	if err := WriteFile(filepath.Join(dir, name+".key"), pair.Key, 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, name+".crt"), pair.Cert, 0o644)
}

// WriteFile replaces a file as a whole or not at all, also if the power goes.
// A file that has this content already is left alone.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return os.Chmod(path, mode)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(data)
	if err == nil {
		err = temporary.Chmod(mode)
	}
	if err == nil {
		err = temporary.Sync()
	}
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
