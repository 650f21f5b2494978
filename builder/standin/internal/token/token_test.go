package token

import "testing"

func TestRoundTrip(t *testing.T) {
	ca := []byte("a certificate")
	secret := NewSecret()
	parsed, err := Parse(Format(ca, "server", secret) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if parsed.User != "server" || !Equal(parsed.Secret, secret) {
		t.Errorf("got %+v", parsed)
	}
	if !parsed.Accepts(ca) || parsed.Accepts([]byte("another certificate")) {
		t.Error("the CA is not checked")
	}
}

func TestShortTokenAcceptsAnyCA(t *testing.T) {
	parsed, err := Parse("secret")
	if err != nil || parsed.Secret != "secret" || !parsed.Accepts([]byte("x")) {
		t.Errorf("got %+v, %v", parsed, err)
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "K10abc", "K10abc::server:s", "K10" + "zz" + "::server:s", Format(nil, "server", "")} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q passed", text)
		}
	}
}
