package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/pki"
)

const (
	networkFile = "etc/cni/net.d/10-flannel.conflist"
	// Addresses in use are kept in memory: no pod lives through a reboot, and
	// none of its addresses should.
	leasesDir = "/run/cni/networks"
	// How often routes to other nodes' pods are brought up to date.
	routesEvery = 15 * time.Second
)

type object = map[string]any

// writeNetwork tells containerd's CNI how pods are connected: a bridge with
// the node's pod addresses, masqueraded by nftables.
func (n *Node) writeNetwork(podCIDR string) error {
	if _, _, err := net.ParseCIDR(podCIDR); err != nil {
		return fmt.Errorf("pod network: %w", err)
	}
	data, err := json.MarshalIndent(object{
		"name":       "cbr0",
		"cniVersion": "1.0.0",
		"plugins": []object{
			{
				"type":             "bridge",
				"bridge":           "cni0",
				"isDefaultGateway": true,
				"hairpinMode":      true,
				"forceAddress":     true,
				"ipMasq":           true,
				"ipMasqBackend":    "nftables",
				"ipam": object{
					"type":    "host-local",
					"dataDir": leasesDir,
					"ranges":  [][]object{{{"subnet": podCIDR}}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}, "backend": "nftables"},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(n.path(networkFile), append(data, '\n'), 0o644)
}

// followRoutes keeps a route to every other node's pods, via that node. It is
// what flannel's host-gw backend does, and needs the nodes on one network.
func (n *Node) followRoutes(ctx context.Context, client kubernetes.Interface) error {
	ticker := time.NewTicker(routesEvery)
	defer ticker.Stop()
	for {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "other nodes unknown, no routes to their pods")
		}
		if err == nil {
			for _, node := range nodes.Items {
				n.routeTo(&node)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (n *Node) routeTo(node *corev1.Node) {
	_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
	if node.Name == n.Name || err != nil {
		return
	}
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		route := &netlink.Route{Dst: pods, Gw: net.ParseIP(address.Address)}
		if err := netlink.RouteReplace(route); err != nil {
			klog.ErrorS(err, "no route to a node's pods", "node", node.Name, "pods", pods, "via", address.Address)
		}
		return
	}
}
