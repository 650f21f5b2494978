package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/pki"
	"edgeimg.local/standin/internal/settings"
	"edgeimg.local/standin/internal/token"
)

// Paths of the server's endpoints for agents. K3s has /cacerts as well; its
// other endpoints differ, so agents of the one do not join servers of the
// other.
const (
	PathCA   = "/cacerts"
	PathJoin = "/v1-k3s/standin-join"
)

const (
	joinTimeout  = 60 * time.Second
	joinEvery    = 5 * time.Second
	largestReply = 1 << 20
)

// RunAgent joins the server that the settings name and runs a node.
func RunAgent(ctx context.Context, s *settings.Settings, ready func()) error {
	name, err := Name(s)
	if err != nil {
		return err
	}
	address, err := Address(ctx, s)
	if err != nil {
		return err
	}
	secret, err := joinToken(s)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.DataDir, "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	k, err := loadKeys(dir)
	if err != nil {
		return err
	}
	request := SignRequest{Node: name, Address: address.String()}
	for _, item := range []struct {
		to   *[]byte
		from any
	}{{&request.ServingKey, k.serving.Public()}, {&request.ClientKey, k.client.Public()}, {&request.ProxyKey, k.proxy.Public()}} {
		if *item.to, err = x509.MarshalPKIXPublicKey(item.from); err != nil {
			return err
		}
	}
	server := strings.TrimSuffix(s.Server, "/")
	credentials, err := join(ctx, server, secret, request)
	if err != nil {
		return err
	}
	if err := credentials.store(dir, server); err != nil {
		return err
	}
	klog.InfoS("joined", "server", server, "node", name)
	node := &Node{Settings: s, Name: name, Address: address, Cluster: credentials.Cluster, Ready: ready,
		Client: remote(dir, server, nameClient), Neighbours: remote(dir, server, nameProxy)}
	return node.Run(ctx)
}

// remote reaches the API server from another machine, with a certificate of
// this node.
func remote(dir, server, name string) *rest.Config {
	return &rest.Config{
		Host: server,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   filepath.Join(dir, "server-ca.crt"),
			CertFile: filepath.Join(dir, name+".crt"),
			KeyFile:  filepath.Join(dir, name+".key"),
		},
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
		QPS:           50, Burst: 100,
	}
}

func joinToken(s *settings.Settings) (token.Token, error) {
	text := s.Token
	if text == "" {
		data, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return token.Token{}, err
		}
		text = string(data)
	}
	return token.Parse(text)
}

// join asks until the server answers or refuses.
func join(ctx context.Context, server string, secret token.Token, request SignRequest) (*Credentials, error) {
	for {
		credentials, final, err := joinOnce(ctx, server, secret, request)
		if err == nil || final {
			return credentials, err
		}
		klog.InfoS("server not ready, trying again", "server", server, "reason", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(joinEvery):
		}
	}
}

func joinOnce(ctx context.Context, server string, secret token.Token, request SignRequest) (_ *Credentials, final bool, err error) {
	// The CA comes over an unverified connection and is then compared with
	// the hash in the token; nothing secret is sent before that.
	unverified := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	ca, status, err := call(ctx, unverified, http.MethodGet, server+PathCA, token.Token{}, nil)
	if err != nil || status != http.StatusOK {
		return nil, false, fmt.Errorf("%s: status %d, %w", PathCA, status, orNone(err))
	}
	if !secret.Accepts(ca) {
		return nil, true, fmt.Errorf("%s is not the server that the token was made by: the hash of its CA differs", server)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, true, fmt.Errorf("%s%s holds no certificate", server, PathCA)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, true, err
	}
	reply, status, err := call(ctx, &tls.Config{RootCAs: roots}, http.MethodPost, server+PathJoin, secret, body)
	switch {
	case err != nil:
		return nil, false, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest:
		return nil, true, fmt.Errorf("server refuses: %s", strings.TrimSpace(string(reply)))
	case status != http.StatusOK:
		return nil, false, fmt.Errorf("server answers with status %d", status)
	}
	credentials := &Credentials{}
	if err := json.Unmarshal(reply, credentials); err != nil {
		return nil, true, fmt.Errorf("server's answer: %w", err)
	}
	_, err = pki.ParseCert(credentials.Client)
	return credentials, true, err
}

func call(ctx context.Context, config *tls.Config, method, url string, secret token.Token, body []byte) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if secret.Secret != "" {
		request.SetBasicAuth(secret.User, secret.Secret)
	}
	transport := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: joinTimeout, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, largestReply))
	return data, response.StatusCode, err
}

func orNone(err error) error {
	if err == nil {
		return fmt.Errorf("expected 200")
	}
	return err
}
