package server

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"edgeimg.local/standin/internal/pki"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/token"
)

// identity is what makes this cluster this one: its certificate authorities
// and its join secrets. All of it is made on the first start.
type identity struct {
	serverCA *pki.CA // signs servers
	clientCA *pki.CA // signs clients
	secret   string
	agent    string // joins agents; the same as secret unless set
}

// File names of the leaf certificates, as K3s has them.
const (
	certAPIServer   = "serving-kube-apiserver"
	certAdmin       = "client-admin"
	certToKubelet   = "client-kube-apiserver"
	certAggregation = "client-auth-proxy"
	caServer        = "server-ca"
	caClient        = "client-ca"
	caAggregation   = "request-header-ca"
)

func loadIdentity(s *settings.Settings, p paths, address net.IP) (*identity, error) {
	serverCA, err := pki.LoadCA(p.tls(), caServer, "k3s-server-ca")
	if err != nil {
		return nil, err
	}
	clientCA, err := pki.LoadCA(p.tls(), caClient, "k3s-client-ca")
	if err != nil {
		return nil, err
	}
	aggregationCA, err := pki.LoadCA(p.tls(), caAggregation, "k3s-request-header-ca")
	if err != nil {
		return nil, err
	}
	if err := pki.EnsureKey(p.serviceKey()); err != nil {
		return nil, err
	}
	names, err := servingNames(s, address)
	if err != nil {
		return nil, err
	}
	leaves := []struct {
		ca      *pki.CA
		name    string
		request pki.Request
	}{
		{serverCA, certAPIServer, pki.Request{User: "kube-apiserver", Names: names}},
		{clientCA, certAdmin, pki.Request{User: "system:admin", Groups: []string{"system:masters"}}},
		{clientCA, certToKubelet, pki.Request{User: "system:apiserver", Groups: []string{"system:masters"}}},
		{aggregationCA, certAggregation, pki.Request{User: "system:auth-proxy"}},
	}
	for _, leaf := range leaves {
		if _, err := leaf.ca.Ensure(p.tls(), leaf.name, leaf.request); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", leaf.name, err)
		}
	}
	id := &identity{serverCA: serverCA, clientCA: clientCA}
	return id, id.loadTokens(s, p)
}

func servingNames(s *settings.Settings, address net.IP) ([]string, error) {
	service, err := indexed(s.ServiceCIDR, 1)
	if err != nil {
		return nil, err
	}
	names := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.ClusterDomain,
		"localhost", "127.0.0.1", "::1", service.String(), address.String(),
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for _, san := range s.TLSSANs {
		names = append(names, strings.Split(san, ",")...)
	}
	return names, nil
}

// indexed is the nth address of a network.
func indexed(cidr string, n byte) (net.IP, error) {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return nil, err
	}
	ip := append(net.IP(nil), network.IP...)
	ip[len(ip)-1] += n
	if !network.Contains(ip) {
		return nil, fmt.Errorf("%s has no %dth address", cidr, n)
	}
	return ip, nil
}

// loadTokens takes the join secrets from the settings, or else from the last
// start, or else makes one, and writes them in the full format.
func (id *identity) loadTokens(s *settings.Settings, p paths) error {
	var err error
	if id.secret, err = chooseSecret(s.Token, s.TokenFile, p.token()); err != nil {
		return err
	}
	if id.agent, err = chooseSecret(s.AgentToken, "", p.agentToken()); err != nil {
		return err
	}
	ca := id.serverCA.Cert
	if id.agent == "" {
		id.agent = id.secret
	} else if err := pki.WriteFile(p.agentToken(), []byte(token.Format(ca, "node", id.agent)+"\n"), 0o600); err != nil {
		return err
	}
	full := []byte(token.Format(ca, "server", id.secret) + "\n")
	if err := pki.WriteFile(p.token(), full, 0o600); err != nil {
		return err
	}
	if err := os.Symlink(p.token(), p.nodeToken()); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

func chooseSecret(given, file, kept string) (string, error) {
	text := given
	for _, path := range []string{file, kept} {
		if text != "" || path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil && (path == file || !os.IsNotExist(err)) {
			return "", err
		}
		text = string(data)
	}
	if text == "" && strings.HasSuffix(kept, "/agent-token") {
		return "", nil
	}
	if text == "" {
		return token.NewSecret(), nil
	}
	parsed, err := token.Parse(text)
	return parsed.Secret, err
}

func portText(port int) string { return strconv.Itoa(port) }
