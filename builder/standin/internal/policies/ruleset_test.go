package policies

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func pod(namespace, name, address, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}, {IP: "fd00::" + address[len(address)-1:]}}},
	}
}

// ruleset is what nft gets for the policies with these specifications, in the
// namespace "default" of a cluster with two nodes and two namespaces.
func ruleset(t *testing.T, specs ...string) string {
	t.Helper()
	ended, host := pod("default", "job", "10.42.0.8", "here"), pod("default", "host", "10.0.2.15", "here")
	ended.Status.Phase = corev1.PodSucceeded
	host.Spec.HostNetwork = true
	c := cluster{
		node: "here",
		pods: []*corev1.Pod{
			pod("default", "web", "10.42.0.2", "here"), pod("default", "client", "10.42.0.3", "here"),
			pod("default", "far", "10.42.1.2", "there"), pod("other", "web", "10.42.0.4", "here"), ended, host,
		},
		namespaces: map[string]labels.Set{"default": {"name": "default"}, "other": {"name": "other"}},
	}
	for _, spec := range specs {
		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "policy"}}
		if err := yaml.UnmarshalStrict([]byte(spec), &policy.Spec); err != nil {
			t.Fatal(err)
		}
		c.policies = append(c.policies, policy)
	}
	c.sort()
	text, err := c.ruleset()
	if err != nil {
		t.Fatal(err)
	}
	checkSyntax(t, text)
	return text
}

// checkSyntax asks nft itself, where it is and may be asked.
func checkSyntax(t *testing.T, text string) {
	t.Helper()
	program, err := exec.LookPath("nft")
	if err != nil || exec.Command(program, "list", "tables").Run() != nil {
		return
	}
	command := exec.Command(program, "-c", "-f", "-")
	command.Stdin = strings.NewReader(text)
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%s: %s\n%s", err, output, text)
	}
}

// chain are the rules of a chain, without those that every chain has.
func chain(t *testing.T, text, name string) []string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\tchain "+name+" {\n")
	if !found {
		t.Fatalf("no chain %s:\n%s", name, text)
	}
	body, _, _ := strings.Cut(rest, "\t}\n")
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(body), "\t", ""), "\n")
	_, address, _ := strings.Cut(name, "_")
	if itself := "ip saddr " + address + " ip daddr " + address + " return"; lines[0] != itself {
		t.Errorf("%s does not begin with %s:\n%s", name, itself, body)
	}
	if lines[len(lines)-1] != "drop" {
		t.Errorf("%s does not end with drop:\n%s", name, body)
	}
	return lines[1 : len(lines)-1]
}

func TestPodsWithoutPoliciesHaveNoChains(t *testing.T) {
	if text := ruleset(t); strings.Contains(text, "vmap") || strings.Contains(text, "drop") {
		t.Error(text)
	}
}

func TestDenyAllDropsWhatComesToThePodsOfTheNamespaceOnThisNode(t *testing.T) {
	text := ruleset(t, "podSelector: {}")
	want := "ip daddr vmap { 10.42.0.3 : jump ingress_10.42.0.3, 10.42.0.2 : jump ingress_10.42.0.2 }"
	if !strings.Contains(text, want) || strings.Contains(text, "ip saddr vmap") {
		t.Errorf("want %s:\n%s", want, text)
	}
	for _, name := range []string{"ingress_10.42.0.2", "ingress_10.42.0.3"} {
		if rules := chain(t, text, name); len(rules) != 0 {
			t.Errorf("%s allows %v", name, rules)
		}
	}
}

func TestRules(t *testing.T) {
	const selector = "podSelector: {matchLabels: {app: web}}\n"
	for name, item := range map[string]struct {
		spec, chain string
		want        []string
	}{
		"all":       {"ingress: [{}]", "ingress_10.42.0.2", []string{"return"}},
		"own pods":  {"ingress: [{from: [{podSelector: {}}]}]", "ingress_10.42.0.2", []string{"ip saddr { 10.42.0.2, 10.42.0.3, 10.42.1.2 } return"}},
		"namespace": {"ingress: [{from: [{namespaceSelector: {matchLabels: {name: other}}}]}]", "ingress_10.42.0.2", []string{"ip saddr { 10.42.0.4 } return"}},
		"pods of a namespace": {
			"ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]", "ingress_10.42.0.2",
			[]string{"ip saddr { 10.42.0.2, 10.42.0.4 } return"},
		},
		"nobody there": {"ingress: [{from: [{podSelector: {matchLabels: {app: no}}}]}]", "ingress_10.42.0.2", nil},
		"blocks": {
			"ingress: [{from: [{ipBlock: {cidr: 192.168.1.7/16, except: [192.168.2.0/24, 192.168.2.0/25]}}, {ipBlock: {cidr: 'fd00::/8'}}]}]", "ingress_10.42.0.2",
			[]string{"ip saddr 192.168.0.0/16 ip saddr != 192.168.2.0/24 ip saddr != 192.168.2.0/25 return"},
		},
		"only IPv6": {"ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]", "ingress_10.42.0.2", nil},
		"ports": {
			"ingress: [{ports: [{port: 80}, {port: 100, endPort: 200, protocol: UDP}, {protocol: SCTP}, {port: http}, {port: nameless}]}]", "ingress_10.42.0.2",
			[]string{"tcp dport 80 return", "udp dport 100-200 return", "meta l4proto sctp return", "tcp dport 8080 return"},
		},
		"peer and port": {
			"ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]", "ingress_10.42.0.2",
			[]string{"ip saddr { 10.42.0.3 } tcp dport 80 return"},
		},
		"egress": {
			"policyTypes: [Egress]\negress: [{to: [{podSelector: {matchLabels: {app: far}}}], ports: [{port: http}]}]", "egress_10.42.0.2",
			[]string{"ip daddr { 10.42.1.2 } tcp dport 8080 return"},
		},
		"egress without types": {"egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]", "egress_10.42.0.2", []string{"ip daddr 0.0.0.0/0 return"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := chain(t, ruleset(t, selector+item.spec), item.chain)
			if strings.Join(got, "\n") != strings.Join(item.want, "\n") {
				t.Errorf("got %q, want %q", got, item.want)
			}
		})
	}
}

func TestAnAddressIsThatOfItsNewestPod(t *testing.T) {
	old, young := pod("default", "old", "10.42.0.2", "here"), pod("default", "new", "10.42.0.2", "here")
	young.CreationTimestamp = metav1.NewTime(time.Unix(10, 0))
	for _, pods := range [][]*corev1.Pod{{old, young}, {young, old}} {
		c := cluster{node: "here", pods: pods, policies: []*networkingv1.NetworkPolicy{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default"},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "new"}},
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
			},
		}}}
		text, err := c.ruleset()
		if err != nil {
			t.Fatal(err)
		}
		checkSyntax(t, text)
		if got := chain(t, text, "ingress_10.42.0.2"); len(got) != 1 || got[0] != "ip saddr { 10.42.0.2 } return" {
			t.Error(got)
		}
		if strings.Count(text, "jump") != 1 {
			t.Error(text)
		}
	}
}

func TestPoliciesAddUp(t *testing.T) {
	text := ruleset(t, "podSelector: {}", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}]}]")
	if got := chain(t, text, "ingress_10.42.0.2"); len(got) != 1 || got[0] != "tcp dport 80 return" {
		t.Error(got)
	}
	if got := chain(t, text, "ingress_10.42.0.3"); len(got) != 0 {
		t.Error(got)
	}
}

func TestTrimKeepsWhatPoliciesLookAt(t *testing.T) {
	whole := pod("default", "web", "10.42.0.2", "here")
	kept, err := trim(whole.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	before, after := cluster{node: "here", pods: []*corev1.Pod{whole}}, cluster{node: "here", pods: []*corev1.Pod{kept.(*corev1.Pod)}}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}
	if err := yaml.UnmarshalStrict([]byte("podSelector: {}\ningress: [{ports: [{port: http}]}]"), &policy.Spec); err != nil {
		t.Fatal(err)
	}
	before.policies, after.policies = []*networkingv1.NetworkPolicy{policy}, []*networkingv1.NetworkPolicy{policy}
	want, _ := before.ruleset()
	got, _ := after.ruleset()
	if want != got || !strings.Contains(got, "tcp dport 8080") {
		t.Errorf("got %s, want %s", got, want)
	}
}
