package policies

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// addresses are a pod's own in the pod network, which is IPv4. A pod in the
// node's network has none, and one that has ended lost them.
func addresses(pod *corev1.Pod) []string {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var found []string
	for _, item := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(item.IP); err == nil && address.Is4() {
			found = append(found, address.String())
		}
	}
	return found
}

// podsOf matches the addresses of pods; nothing where they have none.
func podsOf(field string, pods []*corev1.Pod) []string {
	var found []string
	for _, pod := range pods {
		found = append(found, addresses(pod)...)
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return []string{fmt.Sprintf("%s { %s }", field, strings.Join(slices.Compact(found), ", "))}
}

// blocksOf matches blocks of addresses, one match each: in one set they might
// overlap, which nft refuses.
func blocksOf(field string, blocks []*networkingv1.IPBlock) []string {
	var found []string
	for _, block := range blocks {
		network, ok := ipv4(block.CIDR)
		if !ok {
			continue
		}
		match := field + " " + network
		for _, except := range block.Except {
			if network, ok := ipv4(except); ok {
				match += " " + field + " != " + network
			}
		}
		found = append(found, match)
	}
	return found
}

// ipv4 is a network as nft reads it; false where it is of IPv6, which pods do
// not have here.
func ipv4(cidr string) (string, bool) {
	network, err := netip.ParsePrefix(cidr)
	if err != nil || !network.Addr().Is4() {
		return "", false
	}
	return network.Masked().String(), true
}

func protocol(port networkingv1.NetworkPolicyPort) string {
	if port.Protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*port.Protocol))
}

// numbered matches a protocol's ports: all, one or a range.
func numbered(port networkingv1.NetworkPolicyPort) string {
	switch {
	case port.Port == nil:
		return "meta l4proto " + protocol(port)
	case port.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", protocol(port), port.Port.IntVal, *port.EndPort)
	}
	return single(port, port.Port.IntVal)
}

func single(port networkingv1.NetworkPolicyPort, number int32) string {
	return fmt.Sprintf("%s dport %d", protocol(port), number)
}

// named is the number of a pod's port with that name and protocol, or 0.
func named(pod *corev1.Pod, port networkingv1.NetworkPolicyPort) int32 {
	for _, container := range pod.Spec.Containers {
		for _, offered := range container.Ports {
			if offered.Name == port.Port.StrVal && strings.EqualFold(string(offered.Protocol), protocol(port)) {
				return offered.ContainerPort
			}
		}
	}
	return 0
}
