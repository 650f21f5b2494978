package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"edgeimg.local/standin/internal/agent"
	"edgeimg.local/standin/internal/token"
)

const largestRequest = 64 << 10

func isSupervisorPath(path string) bool {
	return path == agent.PathCA || strings.HasPrefix(path, "/v1-k3s/")
}

// supervisor answers agents that want to join. It shares the API server's
// port, as in K3s.
func supervisor(id *identity, cluster agent.Cluster) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+agent.PathCA, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(id.serverCA.Cert)
	})
	mux.HandleFunc("POST "+agent.PathJoin, func(w http.ResponseWriter, r *http.Request) {
		_, secret, _ := r.BasicAuth()
		if !token.Equal(secret, id.agent) && !token.Equal(secret, id.secret) {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		credentials, err := id.signNode(http.MaxBytesReader(w, r.Body, largestRequest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		credentials.Cluster = cluster
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(credentials)
	})
	return mux
}

func (id *identity) signNode(body interface{ Read([]byte) (int, error) }) (agent.Credentials, error) {
	var none agent.Credentials
	var request agent.SignRequest
	if err := json.NewDecoder(body).Decode(&request); err != nil {
		return none, fmt.Errorf("request: %w", err)
	}
	if problems := validation.IsDNS1123Subdomain(request.Node); len(problems) != 0 {
		return none, fmt.Errorf("node name %q: %s", request.Node, strings.Join(problems, ", "))
	}
	address := net.ParseIP(request.Address)
	if address == nil {
		return none, fmt.Errorf("node address %q is not an address", request.Address)
	}
	public := make([]crypto.PublicKey, 3)
	for i, der := range [][]byte{request.ServingKey, request.ClientKey, request.ProxyKey} {
		key, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return none, fmt.Errorf("public key: %w", err)
		}
		if _, ok := key.(*ecdsa.PublicKey); !ok {
			return none, fmt.Errorf("public key is a %T, expected ECDSA", key)
		}
		public[i] = key
	}
	return agent.Sign(id.serverCA, id.clientCA, request.Node, address, public[0], public[1], public[2])
}
