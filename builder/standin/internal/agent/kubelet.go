package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	kubeletoptions "k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"

	"edgeimg.local/standin/internal/flagset"
	"edgeimg.local/standin/internal/pki"
)

const (
	containerdSocket = "/run/k3s/containerd/containerd.sock"
	// A request of the kubelet that takes longer than this is given up; a
	// loaded 32-bit core needs more than the usual ten seconds.
	clientTimeout = 60 * time.Second
)

// configure sets what a kubelet on a gateway needs, in K3s's way. It goes
// over a configuration file and under the flags.
func (n *Node) configure(c *kubeletconfig.KubeletConfiguration, resolvConf string) {
	c.ContainerRuntimeEndpoint = endpoint(n.Settings.RuntimeEndpoint)
	c.TLSCertFile = n.path(nameServing + ".crt")
	c.TLSPrivateKeyFile = n.path(nameServing + ".key")
	c.StaticPodPath = n.path("pod-manifests")
	c.ResolverConfig = resolvConf
	c.ClusterDNS = []string{n.Cluster.DNS}
	c.ClusterDomain = n.Cluster.Domain
	c.Authentication.X509.ClientCAFile = n.path("client-ca.crt")
	c.Authentication.Anonymous.Enabled = false
	c.Authentication.Webhook.Enabled = true
	c.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	c.ReadOnlyPort = 0
	c.HealthzBindAddress = "127.0.0.1"
	c.FailSwapOn = false // there is zram
	c.EvictionHard = map[string]string{"imagefs.available": "5%", "nodefs.available": "5%"}
	c.EvictionMinimumReclaim = map[string]string{"imagefs.available": "10%", "nodefs.available": "10%"}
	c.RuntimeRequestTimeout.Duration = 15 * time.Minute
}

func endpoint(given string) string {
	switch {
	case given == "":
		return "unix://" + containerdSocket
	case !strings.Contains(given, "://"):
		return "unix://" + given
	}
	return given
}

// identityArgs are the kubelet's flags that have no place in its
// configuration file.
func (n *Node) identityArgs() []string {
	args := []string{
		"hostname-override=" + n.Name,
		"node-ip=" + n.Address.String(),
		"node-labels=" + strings.Join(n.Settings.NodeLabels, ","),
		"kubeconfig=" + n.path("kubelet.kubeconfig"),
		"cert-dir=" + n.path("pki"),
	}
	if taints := n.Settings.NodeTaints; len(taints) != 0 {
		args = append(args, "register-with-taints="+strings.Join(taints, ","))
	}
	return args
}

// runKubelet runs the kubelet until ctx ends.
func (n *Node) runKubelet(ctx context.Context) error {
	for _, dir := range []string{n.path("pod-manifests"), n.path("etc")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	resolvConf, err := n.resolvConf()
	if err != nil {
		return err
	}
	args := append(n.identityArgs(), n.Settings.KubeletArgs...)
	server, err := parseKubelet(ctx, args, func(c *kubeletconfig.KubeletConfiguration) { n.configure(c, resolvConf) })
	if err != nil {
		return fmt.Errorf("kubelet-arg: %w", err)
	}
	gate := utilfeature.DefaultFeatureGate
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(server.FeatureGates); err != nil {
		return err
	}
	if err := validation.ValidateKubeletConfiguration(&server.KubeletConfiguration, gate); err != nil {
		return err
	}
	dependencies, err := kubeletapp.UnsecuredDependencies(ctx, server, gate)
	if err != nil {
		return err
	}
	if err := n.setClients(dependencies); err != nil {
		return err
	}
	return kubeletapp.Run(ctx, server, dependencies, gate)
}

// parseKubelet sets the kubelet's configuration from the file that --config
// names, if it is given, then by configure, then from flags.
func parseKubelet(ctx context.Context, args []string, configure func(*kubeletconfig.KubeletConfiguration)) (*kubeletoptions.KubeletServer, error) {
	configuration, err := kubeletoptions.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	parse := func(configuration *kubeletconfig.KubeletConfiguration) (*kubeletoptions.KubeletFlags, error) {
		configure(configuration)
		set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
		set.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
		flags := kubeletoptions.NewKubeletFlags()
		flags.AddFlags(set)
		kubeletoptions.AddKubeletConfigFlags(set, configuration)
		return flags, flagset.ParseSet(set, args)
	}
	flags, err := parse(configuration)
	if err == nil && flags.KubeletConfigFile != "" {
		loader, failed := configfiles.NewFsLoader(&utilfs.DefaultFs{}, flags.KubeletConfigFile)
		if failed != nil {
			return nil, failed
		}
		if configuration, err = loader.Load(ctx); err == nil {
			flags, err = parse(configuration)
		}
	}
	if err != nil {
		return nil, err
	}
	return &kubeletoptions.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *configuration}, nil
}

func (n *Node) setClients(dependencies *kubelet.Dependencies) error {
	general := rest.AddUserAgent(rest.CopyConfig(n.Client), "kubelet")
	client, err := kubernetes.NewForConfig(general)
	if err != nil {
		return err
	}
	limited := rest.CopyConfig(general)
	limited.Timeout = clientTimeout
	heartbeat, err := kubernetes.NewForConfig(limited)
	if err != nil {
		return err
	}
	dependencies.KubeClient = client
	dependencies.EventClient = client.CoreV1()
	dependencies.HeartbeatClient = heartbeat
	dependencies.OnHeartbeatFailure = func() {}
	return nil
}

// resolvConf is the file that pods' name servers come from: that of
// systemd-resolved if it is there, the host's unless it names this machine,
// else one with the server that K3s puts in: CoreDNS does not start without any.
func (n *Node) resolvConf() (string, error) {
	for _, path := range []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"} {
		content, err := os.ReadFile(path)
		if err == nil && usableResolvConf(string(content)) {
			return path, nil
		}
	}
	path := filepath.Join(n.path("etc"), "resolv.conf")
	return path, pki.WriteFile(path, []byte("nameserver 8.8.8.8\n"), 0o644)
}

func usableResolvConf(content string) bool {
	usable := false
	for line := range strings.Lines(content) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			if strings.HasPrefix(fields[1], "127.") || fields[1] == "::1" {
				return false
			}
			usable = true
		}
	}
	return usable
}
