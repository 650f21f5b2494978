package packaged

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

var values = Values{
	ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local", StoragePath: "/data/storage", NodeHosts: "10.0.2.15 gateway",
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

func stage(t *testing.T, dir string, disable ...string) []string {
	t.Helper()
	dropped, err := Stage(dir, disable, values)
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

func TestDisabledComponentsAreNotStaged(t *testing.T) {
	for _, disable := range [][]string{{"traefik", "coredns", Policies}, {"traefik,coredns", Policies}} {
		dir := t.TempDir()
		if dropped := stage(t, dir, disable...); dropped != nil {
			t.Errorf("%v were never deployed", dropped)
		}
		if got := files(t, dir); !reflect.DeepEqual(got, []string{"local-storage.yaml"}) {
			t.Errorf("disable %v: staged %v", disable, got)
		}
	}
}

func TestWhatWasDeployedAndIsDisabledNowIsDropped(t *testing.T) {
	dir := t.TempDir()
	stage(t, dir)
	want := []string{filepath.Join(dir, "coredns.yaml")}
	if got := stage(t, dir, "coredns"); !reflect.DeepEqual(got, want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
}

func TestASkipFileLeavesTheManifestAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "coredns.yaml.skip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stage(t, dir)
	if got := files(t, dir); !reflect.DeepEqual(got, []string{"coredns.yaml.skip", "local-storage.yaml", "network-policy.yaml"}) {
		t.Errorf("staged %v", got)
	}
}

func TestAnUnchangedManifestIsNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	stage(t, dir)
	path := filepath.Join(dir, "coredns.yaml")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stage(t, dir)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Error("coredns.yaml was replaced")
	}
}

func TestManifestsAreWholeAndNameTheirObjectsAsK3sDoes(t *testing.T) {
	got := map[string]bool{}
	for _, name := range names {
		text, err := render(name, values)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "%{") || strings.Contains(text, "}%") {
			t.Errorf("%s: something is not filled in", name)
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4096)
		for {
			var object struct {
				Kind     string
				Metadata struct{ Name string }
			}
			err := decoder.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %s", name, err)
			}
			got[object.Kind+" "+object.Metadata.Name] = true
		}
	}
	for _, want := range []string{
		"ConfigMap coredns", "Deployment coredns", "Service kube-dns", "ClusterRole system:coredns",
		"ConfigMap local-path-config", "Deployment local-path-provisioner", "StorageClass local-path",
		"ClusterRole system:standin-network-policy", "ClusterRoleBinding system:standin-network-policy",
	} {
		if !got[want] {
			t.Errorf("no %s among %v", want, got)
		}
	}
}
