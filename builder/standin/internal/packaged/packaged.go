// Package packaged has the manifests of the components that K3s brings along
// and deploys unless they are disabled. Names of objects are K3s's, so that
// what refers to them means the same with K3s.
package packaged

import (
	"embed"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed manifests
var manifests embed.FS

// Images of the components. Their tags are the versions in go.mod; build.py
// puts the same names into the air-gap archive, and refuses others.
const (
	ImageDNS       = "rancher/mirrored-coredns-coredns:1.14.1"
	ImageLocalPath = "rancher/local-path-provisioner:v0.0.30"
	ImageHelper    = "rancher/mirrored-library-busybox:1.37.0"
)

// Policies is what nodes need to enforce network policies. K3s has an option
// for that part, not a name in "disable".
const Policies = "network-policy"

// Names are those in K3s's "disable"; NAME.yaml is the file of each.
var names = []string{"coredns", "local-storage", Policies}

// Values are what the manifests have to be told.
type Values struct {
	ClusterDNS, ClusterDomain string
	// StoragePath is the folder of local volumes.
	StoragePath string
	// NodeHosts is the server's own line for /etc/hosts.
	NodeHosts string
}

// Stage writes the files of the wanted components to the manifests folder. It
// returns the files of those that were deployed before and are disabled now:
// their objects are to be deleted, then the files. As in K3s, NAME.yaml.skip
// leaves a file alone.
func Stage(dir string, disable []string, v Values) (dropped []string, err error) {
	disabled := strings.Split(strings.Join(disable, ","), ",")
	for _, name := range names {
		path := filepath.Join(dir, name+".yaml")
		_, statErr := os.Stat(path)
		if slices.Contains(disabled, name) {
			if statErr == nil {
				dropped = append(dropped, path)
			}
			continue
		}
		if _, err := os.Stat(path + ".skip"); err == nil {
			continue
		}
		content, err := render(name, v)
		if err != nil {
			return nil, err
		}
		if old, err := os.ReadFile(path); err == nil && string(old) == content {
			continue
		}
		if err := replace(path, content); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}

func render(name string, v Values) (string, error) {
	text, err := manifests.ReadFile("manifests/" + name + ".yaml")
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(
		"%{CLUSTER_DNS}%", v.ClusterDNS,
		"%{CLUSTER_DOMAIN}%", v.ClusterDomain,
		"%{STORAGE_PATH}%", v.StoragePath,
		"%{NODE_HOSTS}%", v.NodeHosts,
		"%{IMAGE_DNS}%", ImageDNS,
		"%{IMAGE_LOCAL_PATH}%", ImageLocalPath,
		"%{IMAGE_HELPER}%", ImageHelper,
	).Replace(string(text)), nil
}

// replace writes a file at once: the deployer may be reading it.
func replace(path, content string) error {
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(beside, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(beside, path)
}
