package agent

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"edgeimg.local/standin/internal/policies"
)

// runPolicies enforces network policies until ctx ends, or takes back the rules
// of an earlier run, which enforced them and would go on to drop packets.
func (n *Node) runPolicies(ctx context.Context) error {
	if !n.Cluster.Policies {
		if err := policies.Remove(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "rules of network policies not removed")
		}
		return nil
	}
	client, err := kubernetes.NewForConfig(n.Neighbours)
	if err != nil {
		return err
	}
	return policies.Run(ctx, client, n.Name)
}
