package agent

import (
	"crypto"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"edgeimg.local/standin/internal/pki"
)

// Roles that a node has towards the API server.
const (
	UserPrefix = "system:node:"
	GroupNodes = "system:nodes"
	UserProxy  = "system:kube-proxy"
)

// SignRequest is what an agent asks of its server: certificates for the public
// keys that it sends (PKIX, in DER).
type SignRequest struct {
	Node       string `json:"node"`
	Address    string `json:"address"`
	ServingKey []byte `json:"servingKey"`
	ClientKey  []byte `json:"clientKey"`
	ProxyKey   []byte `json:"proxyKey"`
}

// Credentials is the answer, in PEM, with what else a node has to know.
type Credentials struct {
	Serving  []byte  `json:"serving"`
	Client   []byte  `json:"client"`
	Proxy    []byte  `json:"proxy"`
	ServerCA []byte  `json:"serverCA"`
	ClientCA []byte  `json:"clientCA"`
	Cluster  Cluster `json:"cluster"`
}

// Sign makes a node's certificates. The node cannot choose its rights, only
// its name.
func Sign(serverCA, clientCA *pki.CA, name string, address net.IP, serving, client, proxy crypto.PublicKey) (c Credentials, err error) {
	c.ServerCA, c.ClientCA = serverCA.Cert, clientCA.Cert
	c.Serving, err = serverCA.Sign(serving, pki.Request{
		User: UserPrefix + name, Names: []string{name, "localhost", "127.0.0.1", address.String()},
	})
	if err != nil {
		return c, err
	}
	c.Client, err = clientCA.Sign(client, pki.Request{User: UserPrefix + name, Groups: []string{GroupNodes}})
	if err != nil {
		return c, err
	}
	c.Proxy, err = clientCA.Sign(proxy, pki.Request{User: UserProxy})
	return c, err
}

// keys of a node, made on its first start and kept.
type keys struct{ serving, client, proxy crypto.Signer }

const (
	nameServing = "serving-kubelet"
	nameClient  = "client-kubelet"
	nameProxy   = "client-kube-proxy"
)

func loadKeys(dir string) (k keys, err error) {
	for _, item := range []struct {
		name string
		key  *crypto.Signer
	}{{nameServing, &k.serving}, {nameClient, &k.client}, {nameProxy, &k.proxy}} {
		path := filepath.Join(dir, item.name+".key")
		if err := pki.EnsureKey(path); err != nil {
			return k, err
		}
		if *item.key, err = pki.ReadKey(path); err != nil {
			return k, err
		}
	}
	return k, nil
}

// store writes certificates and the kubeconfig files that use them.
func (c Credentials) store(dir, server string) error {
	for name, data := range map[string][]byte{
		nameServing + ".crt": c.Serving,
		nameClient + ".crt":  c.Client,
		nameProxy + ".crt":   c.Proxy,
		"server-ca.crt":      c.ServerCA,
		"client-ca.crt":      c.ClientCA,
	} {
		if err := pki.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	for file, name := range map[string]string{"kubelet.kubeconfig": nameClient, "kubeproxy.kubeconfig": nameProxy} {
		if err := pki.WriteFile(filepath.Join(dir, file), nodeKubeconfig(dir, server, name), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func nodeKubeconfig(dir, server, name string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: %s
    certificate-authority: %s
contexts:
- name: default
  context:
    cluster: local
    user: user
current-context: default
users:
- name: user
  user:
    client-certificate: %s
    client-key: %s
`, server, filepath.Join(dir, "server-ca.crt"), filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// PrepareLocal makes the credentials of a node in the server's own process.
func PrepareLocal(dataDir, name string, address net.IP, server string, serverCA, clientCA *pki.CA) error {
	dir := filepath.Join(dataDir, "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	k, err := loadKeys(dir)
	if err != nil {
		return err
	}
	credentials, err := Sign(serverCA, clientCA, name, address, k.serving.Public(), k.client.Public(), k.proxy.Public())
	if err != nil {
		return err
	}
	return credentials.store(dir, server)
}
