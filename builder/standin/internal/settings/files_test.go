package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func writeConfig(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.yaml")
}

func TestLaterFileReplacesAndPlusAdds(t *testing.T) {
	config := writeConfig(t, map[string]string{
		"config.yaml":           "node-name: a\nkubelet-arg:\n- v=1\ndisable: traefik\n",
		"config.yaml.d/10.yaml": "node-name: b\nkubelet-arg+:\n- max-pods=20\n",
		"config.yaml.d/20.yaml": "disable+: servicelb\nhttps-listen-port: 7443\ndebug: true\n",
	})
	s, _, err := Parse("server", []string{"--config", config})
	if err != nil {
		t.Fatal(err)
	}
	if s.NodeName != "b" || s.HTTPSPort != 7443 || !s.Debug {
		t.Errorf("got %+v", s)
	}
	if want := []string{"v=1", "max-pods=20"}; !reflect.DeepEqual(s.KubeletArgs, want) {
		t.Errorf("kubelet-arg %q, expected %q", s.KubeletArgs, want)
	}
	if want := []string{"traefik", "servicelb"}; !reflect.DeepEqual(s.Disable, want) {
		t.Errorf("disable %q, expected %q", s.Disable, want)
	}
}

func TestCommandLineReplacesTheWholeKey(t *testing.T) {
	config := writeConfig(t, map[string]string{"config.yaml": "node-label: [a=1, b=2]\nnode-name: file\n"})
	s, _, err := Parse("server", []string{"-c", config, "--node-label=c=3"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"c=3"}; !reflect.DeepEqual(s.NodeLabels, want) {
		t.Errorf("node-label %q, expected %q", s.NodeLabels, want)
	}
	if s.NodeName != "file" {
		t.Errorf("node-name %q", s.NodeName)
	}
}

func TestUnknownKeysAndFlagsAreErrors(t *testing.T) {
	config := writeConfig(t, map[string]string{"config.yaml": "no-such-key: 1\n"})
	if _, _, err := Parse("server", []string{"-c", config}); err == nil || !strings.Contains(err.Error(), "no-such-key") {
		t.Errorf("unknown key: %v", err)
	}
	if _, _, err := Parse("server", []string{"--no-such-flag"}); err == nil {
		t.Error("unknown flag passed")
	}
	if _, _, err := Parse("server", []string{"-c", filepath.Join(t.TempDir(), "missing")}); err == nil {
		t.Error("missing file passed")
	}
}

func TestAgentRefusesServerKeys(t *testing.T) {
	config := writeConfig(t, map[string]string{"config.yaml": "write-kubeconfig-mode: '0600'\n"})
	_, _, err := Parse("agent", []string{"-c", config, "--server", "https://s", "--token", "t"})
	if err == nil || !strings.Contains(err.Error(), "write-kubeconfig-mode is for servers only") {
		t.Errorf("got %v", err)
	}
}
