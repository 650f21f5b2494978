package settings

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Settings is what a K3s command line and its configuration files say.
type Settings struct {
	DataDir              string
	Config               string
	Token                string
	TokenFile            string
	AgentToken           string
	Server               string
	NodeName             string
	NodeIP               string
	NodeLabels           []string
	NodeTaints           []string
	RuntimeEndpoint      string
	PauseImage           string
	Debug                bool
	Verbosity            int
	LogFile              string
	KubeletArgs          []string
	ProxyArgs            []string
	BindAddress          string
	AdvertiseAddress     string
	AdvertisePort        int
	HTTPSPort            int
	TLSSANs              []string
	ClusterCIDR          string
	ServiceCIDR          string
	ClusterDNS           string
	ClusterDomain        string
	FlannelBackend       string
	KubeconfigPath       string
	KubeconfigMode       string
	Disable              []string
	DisableAgent         bool
	DisableScheduler     bool
	DisableControllers   bool
	DisableKubeProxy     bool
	DisablePolicies      bool
	APIServerArgs        []string
	ControllerArgs       []string
	SchedulerArgs        []string
	EgressSelectorMode   string
	DefaultStoragePath   string
	ServiceNodePortRange string
}

const (
	defaultDataDir    = "/var/lib/rancher/k3s"
	defaultConfigFile = "/etc/rancher/k3s/config.yaml"
)

// command is one of K3s's two long-running commands: its flags, and where
// their values go.
type command struct {
	flags *pflag.FlagSet
	// ignored holds the flags that K3s has and that mean nothing here.
	ignored map[string]bool
}

func newCommand(name string, s *Settings) *command {
	c := &command{flags: pflag.NewFlagSet(name, pflag.ContinueOnError), ignored: map[string]bool{}}
	c.nodeFlags(s)
	if name == "server" {
		c.serverFlags(s)
	}
	return c
}

func (c *command) nodeFlags(s *Settings) {
	f := c.flags
	f.StringVarP(&s.Config, "config", "c", defaultConfigFile, "configuration file; FILE.d/*.yaml is read as well")
	f.StringVarP(&s.DataDir, "data-dir", "d", defaultDataDir, "folder that holds state")
	f.StringVarP(&s.Token, "token", "t", "", "shared secret that joins nodes to the server")
	f.StringVar(&s.TokenFile, "token-file", "", "file that holds the token")
	f.StringVarP(&s.Server, "server", "s", "", "URL of the server to join")
	f.StringVar(&s.NodeName, "node-name", "", "name of this node (default: the host name)")
	f.StringVarP(&s.NodeIP, "node-ip", "i", "", "address of this node")
	f.StringArrayVar(&s.NodeLabels, "node-label", nil, "label that the node registers with")
	f.StringArrayVar(&s.NodeTaints, "node-taint", nil, "taint that the node registers with")
	f.StringVar(&s.RuntimeEndpoint, "container-runtime-endpoint", "", "socket of the container runtime")
	f.StringVar(&s.PauseImage, "pause-image", "", "pause image, pinned against image collection")
	f.StringArrayVar(&s.KubeletArgs, "kubelet-arg", nil, "flag for the kubelet")
	f.StringArrayVar(&s.ProxyArgs, "kube-proxy-arg", nil, "flag for kube-proxy")
	f.BoolVar(&s.Debug, "debug", false, "log more")
	f.IntVarP(&s.Verbosity, "v", "v", 0, "log level")
	f.StringVarP(&s.LogFile, "log", "l", "", "log to this file")
	c.ignoreBools("alsologtostderr", "rootless", "prefer-bundled-bin", "protect-kernel-defaults", "selinux", "docker", "enable-pprof", "disable-default-registry-endpoint")
	c.ignoreStrings("vmodule", "private-registry", "snapshotter", "lb-server-port", "flannel-iface", "flannel-conf",
		"flannel-cni-conf", "resolv-conf", "with-node-id", "node-external-ip", "node-internal-dns", "node-external-dns",
		"image-credential-provider-bin-dir", "image-credential-provider-config", "image-service-endpoint",
		"default-runtime", "nonroot-devices", "airgap-extra-registry", "vpn-auth", "vpn-auth-file")
}

func (c *command) serverFlags(s *Settings) {
	f := c.flags
	f.StringVar(&s.AgentToken, "agent-token", "", "secret that joins agents only")
	f.StringVar(&s.BindAddress, "bind-address", "", "address to listen on (default: all)")
	f.StringVar(&s.AdvertiseAddress, "advertise-address", "", "address that others reach the API server at")
	f.IntVar(&s.AdvertisePort, "advertise-port", 0, "port that others reach the API server at")
	f.IntVar(&s.HTTPSPort, "https-listen-port", 6443, "port of the API server")
	f.StringArrayVar(&s.TLSSANs, "tls-san", nil, "further name or address in the API server's certificate")
	f.StringVar(&s.ClusterCIDR, "cluster-cidr", "10.42.0.0/16", "addresses of pods")
	f.StringVar(&s.ServiceCIDR, "service-cidr", "10.43.0.0/16", "addresses of services")
	f.StringVar(&s.ClusterDNS, "cluster-dns", "", "address of the DNS service (default: the tenth of service-cidr)")
	f.StringVar(&s.ClusterDomain, "cluster-domain", "cluster.local", "DNS domain of the cluster")
	f.StringVar(&s.ServiceNodePortRange, "service-node-port-range", "30000-32767", "ports of NodePort services")
	f.StringVar(&s.FlannelBackend, "flannel-backend", "host-gw", "none, or anything else for a bridge and routes")
	f.StringVarP(&s.KubeconfigPath, "write-kubeconfig", "o", "/etc/rancher/k3s/k3s.yaml", "where to write the administrator's kubeconfig")
	f.StringVar(&s.KubeconfigMode, "write-kubeconfig-mode", "0600", "its mode")
	f.StringArrayVar(&s.Disable, "disable", nil, "packaged component not to deploy (the stand-in has coredns and local-storage)")
	f.BoolVar(&s.DisableAgent, "disable-agent", false, "run no node in this process")
	f.BoolVar(&s.DisableScheduler, "disable-scheduler", false, "run no scheduler")
	f.BoolVar(&s.DisableControllers, "disable-controller-manager", false, "run no controllers")
	f.BoolVar(&s.DisableKubeProxy, "disable-kube-proxy", false, "run no kube-proxy")
	f.BoolVar(&s.DisablePolicies, "disable-network-policy", false, "do not enforce network policies")
	f.StringArrayVar(&s.APIServerArgs, "kube-apiserver-arg", nil, "flag for the API server")
	f.StringArrayVar(&s.ControllerArgs, "kube-controller-manager-arg", nil, "flag for the controller manager")
	f.StringArrayVar(&s.SchedulerArgs, "kube-scheduler-arg", nil, "flag for the scheduler")
	f.StringVar(&s.EgressSelectorMode, "egress-selector-mode", "disabled", "only disabled does anything here")
	f.StringVar(&s.DefaultStoragePath, "default-local-storage-path", "", "folder of local volumes")
	c.ignoreBools("disable-cloud-controller", "disable-helm-controller", "disable-etcd",
		"disable-apiserver", "cluster-init", "cluster-reset", "secrets-encryption", "embedded-registry",
		"supervisor-metrics", "flannel-ipv6-masq", "flannel-external-ip",
		"etcd-expose-metrics", "etcd-disable-snapshots", "multi-cluster-cidr")
	c.ignoreStrings("etcd-arg", "kube-cloud-controller-manager-arg", "datastore-endpoint", "datastore-cafile",
		"datastore-certfile", "datastore-keyfile", "helm-job-image", "system-default-registry", "tls-san-security",
		"servicelb-namespace", "write-kubeconfig-group", "cluster-reset-restore-path")
}

func (c *command) ignoreBools(names ...string) {
	for _, name := range names {
		c.flags.Bool(name, false, "accepted, without effect in the stand-in")
		c.ignored[name] = true
	}
}

func (c *command) ignoreStrings(names ...string) {
	for _, name := range names {
		c.flags.StringArray(name, nil, "accepted, without effect in the stand-in")
		c.ignored[name] = true
	}
}

// Parse reads the command line of "k3s server" or "k3s agent" (without those
// two words) and the configuration files that it names.
//
// As in K3s, a value on the command line replaces all values of that key in
// the files, and of several files the last one that has a key wins.
func Parse(name string, args []string) (*Settings, []string, error) {
	s := &Settings{}
	c := newCommand(name, s)
	if err := c.flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if rest := c.flags.Args(); len(rest) != 0 {
		return nil, nil, fmt.Errorf("k3s %s takes no arguments, got %q", name, rest)
	}
	values, err := ReadFiles(s.Config, c.flags.Changed("config"))
	if err != nil {
		return nil, nil, err
	}
	warnings, err := c.apply(values)
	if err != nil {
		return nil, nil, err
	}
	return s, warnings, s.validate(name)
}

// apply sets flags from the files, where the command line did not. As in K3s,
// an agent has no use for what is for servers, and ends.
func (c *command) apply(values []Value) (warnings []string, err error) {
	other := newCommand("server", &Settings{})
	fromCommandLine := map[string]bool{}
	c.flags.Visit(func(f *pflag.Flag) { fromCommandLine[f.Name] = true })
	for _, value := range values {
		flag := c.flags.Lookup(value.Key)
		switch {
		case flag == nil && other.flags.Lookup(value.Key) != nil:
			return warnings, fmt.Errorf("%s: %s is for servers only", value.File, value.Key)
		case flag == nil:
			return warnings, fmt.Errorf("%s: unknown key %q", value.File, value.Key)
		case fromCommandLine[value.Key]:
			continue
		}
		if c.ignored[value.Key] {
			warnings = append(warnings, fmt.Sprintf("%s: %s has no effect in the stand-in", value.File, value.Key))
		}
		for _, item := range value.Items {
			if err := c.flags.Set(value.Key, item); err != nil {
				return warnings, fmt.Errorf("%s: %s: %w", value.File, value.Key, err)
			}
		}
	}
	return warnings, nil
}

func (s *Settings) validate(name string) error {
	if name == "agent" && s.Server == "" {
		return fmt.Errorf("k3s agent needs --server")
	}
	if name == "agent" && s.Token == "" && s.TokenFile == "" {
		return fmt.Errorf("k3s agent needs --token or --token-file")
	}
	if name == "server" && s.Server != "" {
		return fmt.Errorf("the stand-in has one server only; join with k3s agent --server %s", s.Server)
	}
	return nil
}
