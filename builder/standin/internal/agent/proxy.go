package agent

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"

	"edgeimg.local/standin/internal/flagset"
)

func (n *Node) defaultProxyArgs() []string {
	return []string{
		"kubeconfig=" + n.path("kubeproxy.kubeconfig"),
		"hostname-override=" + n.Name,
		"cluster-cidr=" + n.Cluster.PodCIDR,
		"proxy-mode=nftables",
		"healthz-bind-address=127.0.0.1:10256",
		"metrics-bind-address=127.0.0.1:10249",
		// The image sets what it wants of these.
		"conntrack-max-per-core=0",
		"conntrack-tcp-timeout-established=0s",
		"conntrack-tcp-timeout-close-wait=0s",
	}
}

// runProxy runs kube-proxy until ctx ends. It is the one component here that
// takes its client from a file only, and so speaks TLS even to a server in
// the same process.
func (n *Node) runProxy(ctx context.Context) error {
	options := proxyapp.NewOptions()
	set := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	options.AddFlags(set)
	if err := flagset.ParseSet(set, append(n.defaultProxyArgs(), n.Settings.ProxyArgs...)); err != nil {
		return fmt.Errorf("kube-proxy-arg: %w", err)
	}
	if err := options.Complete(set); err != nil {
		return err
	}
	if err := options.Validate(); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- options.Run(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil // kube-proxy does not watch for it everywhere
	}
}
