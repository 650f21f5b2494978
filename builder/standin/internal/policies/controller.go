package policies

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// Changes come in groups: a pod's start alone makes several.
	settle = 200 * time.Millisecond
	// A slow machine needs seconds for nft.
	deadline   = 60 * time.Second
	tryAgainIn = 5 * time.Second
)

// Run enforces network policies on a node until ctx ends. The rules stay then:
// pods run on without this process.
func Run(ctx context.Context, client kubernetes.Interface, node string) error {
	shared := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	pods, policies, namespaces := shared.Core().V1().Pods(), shared.Networking().V1().NetworkPolicies(), shared.Core().V1().Namespaces()
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default: // there is a notice already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notice() }, UpdateFunc: func(any, any) { notice() }, DeleteFunc: func(any) { notice() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), policies.Informer(), namespaces.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	shared.Start(ctx.Done())
	for kind, synced := range shared.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("no list of %s", kind)
		}
	}
	klog.InfoS("enforcing network policies", "node", node)
	notice()
	applied := ""
	for wait(ctx, changed) {
		now := cluster{node: node, namespaces: map[string]labels.Set{}}
		now.pods, _ = pods.Lister().List(labels.Everything()) // from memory, without errors
		now.policies, _ = policies.Lister().List(labels.Everything())
		known, _ := namespaces.Lister().List(labels.Everything())
		for _, namespace := range known {
			now.namespaces[namespace.Name] = namespace.Labels
		}
		now.sort()
		text, err := now.ruleset()
		if err == nil && text != applied {
			err = apply(ctx, text)
		}
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "network policies not applied, trying again")
			time.AfterFunc(tryAgainIn, notice)
			continue
		}
		applied = text
	}
	return nil
}

// Remove takes back the rules of an earlier run.
func Remove(ctx context.Context) error { return apply(ctx, none) }

// wait waits for a change and those that come with it; false when ctx ends.
func wait(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(settle):
		return true
	}
}

// apply has nft replace the whole table at once.
func apply(ctx context.Context, ruleset string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = bytes.NewBufferString(ruleset)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}

// trim keeps of an object what policies look at: it is held in memory.
func trim(object any) (any, error) {
	if item, ok := object.(metav1.Object); ok {
		item.SetManagedFields(nil)
		item.SetAnnotations(nil)
	}
	if pod, ok := object.(*corev1.Pod); ok {
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i] = corev1.Container{Ports: pod.Spec.Containers[i].Ports}
		}
		pod.Spec = corev1.PodSpec{
			NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork, Containers: pod.Spec.Containers,
		}
		pod.Status = corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs}
	}
	return object, nil
}
