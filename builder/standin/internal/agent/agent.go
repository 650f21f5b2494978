// Package agent runs the node's part: kubelet, kube-proxy, pod network.
package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/settings"
)

// Node is what the node's part needs to know and to hold, wherever its server
// runs.
type Node struct {
	Settings *settings.Settings
	Name     string
	Address  net.IP
	// Client reaches the API server with the kubelet's rights.
	Client *rest.Config
	// Neighbours reaches it with rights to see all nodes, which a kubelet has
	// not: it may read its own node only.
	Neighbours *rest.Config
	// Cluster is the same on all nodes.
	Cluster Cluster
	// Ready is called once the node can run pods.
	Ready func()
}

// Cluster is what all nodes of a cluster share.
type Cluster struct {
	PodCIDR       string `json:"clusterCIDR"`
	DNS           string `json:"clusterDNS"`
	Domain        string `json:"clusterDomain"`
	KubeProxy     bool   `json:"kubeProxy"`
	BridgeNetwork bool   `json:"bridgeNetwork"`
	// Policies tells whether network policies are enforced.
	Policies bool `json:"networkPolicies"`
}

// Name is the node's name: what the settings say, or the host's.
func Name(s *settings.Settings) (string, error) {
	if s.NodeName != "" {
		return strings.ToLower(s.NodeName), nil
	}
	host, err := os.Hostname()
	return strings.ToLower(host), err
}

// Address is the node's address: what the settings say, or that of the
// interface with the default route, which is waited for.
func Address(ctx context.Context, s *settings.Settings) (net.IP, error) {
	if s.NodeIP != "" {
		first, _, _ := strings.Cut(s.NodeIP, ",")
		if ip := net.ParseIP(first); ip != nil {
			return ip, nil
		}
		return nil, fmt.Errorf("node-ip: %q is not an address", s.NodeIP)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		ip, err := utilnet.ChooseHostInterface()
		if err == nil {
			return ip, nil
		}
		klog.InfoS("waiting for a network with a default route; set node-ip to do without", "reason", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no address for this node: %w", err)
		case <-time.After(2 * time.Second):
		}
	}
}

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.Settings.DataDir, "agent"}, parts...)...)
}

// Run runs the node until ctx ends or a part of it fails.
func (n *Node) Run(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.Client)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.runKubelet(ctx) })
	group.Go(func() error {
		// The rest waits for the node's registration, so that a slow machine
		// does one thing after the other.
		podCIDR, err := waitForPodCIDR(ctx, client, n.Name)
		if err != nil {
			return err
		}
		if n.Cluster.BridgeNetwork {
			if err := n.writeNetwork(podCIDR); err != nil {
				return err
			}
			neighbours, err := kubernetes.NewForConfig(n.Neighbours)
			if err != nil {
				return err
			}
			group.Go(func() error { return n.followRoutes(ctx, neighbours) })
		}
		group.Go(func() error { return n.runPolicies(ctx) })
		if n.Cluster.KubeProxy {
			group.Go(func() error { return n.runProxy(ctx) })
		}
		n.Ready()
		return nil
	})
	return group.Wait()
}

// waitForPodCIDR waits until the node is registered and has addresses for
// pods.
func waitForPodCIDR(ctx context.Context, client kubernetes.Interface, name string) (string, error) {
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil && node.Spec.PodCIDR != "" {
			return node.Spec.PodCIDR, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
