package server

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"

	"edgeimg.local/standin/internal/pki"
	"edgeimg.local/standin/internal/settings"
)

// writeKubeconfig writes the administrator's kubeconfig, whole in one file.
func writeKubeconfig(s *settings.Settings, p paths) error {
	mode, err := strconv.ParseUint(s.KubeconfigMode, 8, 12)
	if err != nil {
		return fmt.Errorf("write-kubeconfig-mode %q is not an octal mode", s.KubeconfigMode)
	}
	encoded := map[string]string{}
	for _, path := range []string{p.cert(caServer), p.cert(certAdmin), p.key(certAdmin)} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		encoded[path] = base64.StdEncoding.EncodeToString(data)
	}
	content := fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: https://127.0.0.1:%d
    certificate-authority-data: %s
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
`, s.HTTPSPort, encoded[p.cert(caServer)], encoded[p.cert(certAdmin)], encoded[p.key(certAdmin)])
	return pki.WriteFile(s.KubeconfigPath, content, os.FileMode(mode))
}
