package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestServerCertificate(t *testing.T) {
	ca, err := LoadCA(t.TempDir(), "server-ca", "server-ca")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	request := Request{User: "kube-apiserver", Names: []string{"kubernetes", "10.43.0.1"}}
	first, err := ca.Ensure(dir, "serving", request)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ParseCert(first.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("key is a %T", cert.PublicKey)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	for _, name := range request.Names {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	again, err := ca.Ensure(dir, "serving", request)
	if err != nil || !bytes.Equal(again.Cert, first.Cert) {
		t.Errorf("a good certificate was replaced (%v)", err)
	}
	request.Names = append(request.Names, "gateway")
	more, err := ca.Ensure(dir, "serving", request)
	if err != nil || bytes.Equal(more.Cert, first.Cert) {
		t.Errorf("a certificate without a wanted name was kept (%v)", err)
	}
}

func TestKeysArePrivateAndInECForm(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadCA(dir, "ca", "ca"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ca.key")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	data, _ := os.ReadFile(path)
	if block, _ := pem.Decode(data); block == nil || block.Type != "EC PRIVATE KEY" {
		t.Errorf("%s", data)
	}
}

func TestCAIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadCA(dir, "ca", "ca")
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadCA(dir, "ca", "ca")
	if err != nil || !bytes.Equal(first.Cert, second.Cert) {
		t.Errorf("the CA changed (%v)", err)
	}
}

func TestAClockThatStoodStillAcceptsWhatIsSignedLater(t *testing.T) {
	ca, err := LoadCA(t.TempDir(), "ca", "ca")
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := ca.Sign(signer.Public(), Request{User: "system:node:a"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ParseCert(pem)
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.NotBefore.Equal(ca.cert.NotBefore) || time.Since(leaf.NotBefore) < backdate {
		t.Errorf("valid from %s, the CA from %s", leaf.NotBefore, ca.cert.NotBefore)
	}
	if leaf.NotAfter.After(ca.cert.NotAfter) {
		t.Errorf("valid until %s, the CA until %s", leaf.NotAfter, ca.cert.NotAfter)
	}
}
