// Package policies enforces NetworkPolicy on a node with nftables, the packet
// filter that a gateway has anyway. K3s embeds kube-router for it, which needs
// iptables and ipset.
package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const table = "ip standin-policies"

// none removes what an earlier run left. To add the table first makes it no
// error when there is none.
const none = "add table " + table + "\ndelete table " + table + "\n"

// cluster is what policies are about.
type cluster struct {
	node       string
	policies   []*networkingv1.NetworkPolicy
	pods       []*corev1.Pod
	namespaces map[string]labels.Set
}

// sort makes equal states equal rulesets.
func (c *cluster) sort() {
	slices.SortFunc(c.pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(c.policies, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// ruleset is the input of nft that enforces the policies on the node's pods.
//
// A pod that no policy selects has no chain, and its packets pass. One that is
// selected has a chain for the direction: packets return from it where a
// policy allows them, and are dropped at its end. Replies pass before. What the
// node itself sends to its pods, as the kubelet's probes, is not forwarded and
// does not come here.
func (c *cluster) ruleset() (string, error) {
	chains := &strings.Builder{}
	owners := c.owners()
	vmaps := map[networkingv1.PolicyType][]string{}
	for _, pod := range c.pods {
		if pod.Spec.NodeName != c.node {
			continue
		}
		for _, address := range addresses(pod) {
			if owners[address] != pod {
				continue
			}
			for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress} {
				rules, selected, err := c.rules(pod, direction)
				if err != nil {
					return "", err
				}
				if !selected {
					continue
				}
				chain := strings.ToLower(string(direction)) + "_" + address
				vmaps[direction] = append(vmaps[direction], address+" : jump "+chain)
				// A pod may always reach itself.
				fmt.Fprintf(chains, "\tchain %s {\n\t\tip saddr %s ip daddr %[2]s return\n", chain, address)
				for _, rule := range rules {
					fmt.Fprintf(chains, "\t\t%s\n", strings.TrimSpace(rule+" return"))
				}
				chains.WriteString("\t\tdrop\n\t}\n")
			}
		}
	}
	text := &strings.Builder{}
	fmt.Fprintf(text, "%stable %s {\n%s\tchain forward {\n\t\ttype filter hook forward priority filter;\n", none, table, chains)
	text.WriteString("\t\tct state established,related accept\n")
	for _, match := range []struct {
		field     string
		direction networkingv1.PolicyType
	}{{"ip saddr", networkingv1.PolicyTypeEgress}, {"ip daddr", networkingv1.PolicyTypeIngress}} {
		if elements := vmaps[match.direction]; len(elements) != 0 {
			fmt.Fprintf(text, "\t\t%s vmap { %s }\n", match.field, strings.Join(elements, ", "))
		}
	}
	text.WriteString("\t}\n}\n")
	return text.String(), nil
}

// owners are the pods by address. A pod that ends may still be listed when its
// address is a newer one's.
func (c *cluster) owners() map[string]*corev1.Pod {
	owners := map[string]*corev1.Pod{}
	for _, pod := range c.pods {
		for _, address := range addresses(pod) {
			if other := owners[address]; other == nil || other.CreationTimestamp.Before(&pod.CreationTimestamp) {
				owners[address] = pod
			}
		}
	}
	return owners
}

// rules are what the policies that select the pod allow in a direction, and
// whether there is such a policy.
func (c *cluster) rules(pod *corev1.Pod, direction networkingv1.PolicyType) (rules []string, selected bool, err error) {
	for _, policy := range c.policies {
		if policy.Namespace != pod.Namespace || !applies(policy, direction) {
			continue
		}
		matches, err := selects(&policy.Spec.PodSelector, pod.Labels)
		if err != nil {
			return nil, false, fmt.Errorf("network policy %s/%s: %w", policy.Namespace, policy.Name, err)
		}
		if !matches {
			continue
		}
		selected = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				found, err := c.allowed(policy.Namespace, rule.From, rule.Ports, "ip saddr", pod)
				if err != nil {
					return nil, false, err
				}
				rules = append(rules, found...)
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			found, err := c.allowed(policy.Namespace, rule.To, rule.Ports, "ip daddr", nil)
			if err != nil {
				return nil, false, err
			}
			rules = append(rules, found...)
		}
	}
	return rules, selected, nil
}

// applies tells whether a policy is about a direction. The API server fills
// policyTypes in, but objects of an old one may lack it.
func applies(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) != 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) != 0
}

// allowed is one rule of a policy as matches of nft. Of ingress, `server` is
// the pod whose ports are meant; of egress it is nil, and each peer's are.
func (c *cluster) allowed(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, field string, server *corev1.Pod) ([]string, error) {
	pods, blocks, err := c.peers(namespace, peers)
	if err != nil {
		return nil, err
	}
	var rules []string
	add := func(sources []string, port string) {
		for _, source := range sources {
			rules = append(rules, strings.TrimSpace(source+" "+port))
		}
	}
	everyone := len(peers) == 0
	sources := append(blocksOf(field, blocks), podsOf(field, pods)...)
	if everyone {
		sources = []string{""}
	}
	if len(ports) == 0 {
		add(sources, "")
		return rules, nil
	}
	for _, port := range ports {
		if port.Port == nil || port.Port.StrVal == "" {
			add(sources, numbered(port))
			continue
		}
		if server != nil {
			if number := named(server, port); number != 0 {
				add(sources, single(port, number))
			}
			continue
		}
		if everyone {
			pods = c.pods
		}
		for _, peer := range pods { // a block of addresses has no names of ports
			if number := named(peer, port); number != 0 {
				add(podsOf(field, []*corev1.Pod{peer}), single(port, number))
			}
		}
	}
	return rules, nil
}

// peers are the pods and the blocks of addresses that a rule names.
func (c *cluster) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) (pods []*corev1.Pod, blocks []*networkingv1.IPBlock, err error) {
	for _, pod := range c.pods {
		for _, peer := range peers {
			matches := peer.IPBlock == nil
			if peer.NamespaceSelector == nil {
				matches = matches && pod.Namespace == namespace
			} else if matches {
				if matches, err = selects(peer.NamespaceSelector, c.namespaces[pod.Namespace]); err != nil {
					return nil, nil, err
				}
			}
			if matches && peer.PodSelector != nil {
				if matches, err = selects(peer.PodSelector, pod.Labels); err != nil {
					return nil, nil, err
				}
			}
			if matches {
				pods = append(pods, pod)
				break
			}
		}
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			blocks = append(blocks, peer.IPBlock)
		}
	}
	return pods, blocks, nil
}

func selects(selector *metav1.LabelSelector, set labels.Set) (bool, error) {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return parsed.Matches(set), nil
}
